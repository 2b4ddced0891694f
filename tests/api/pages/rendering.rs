//! What a model wrote, on a page.

use serde_json::json;

use crate::support::{
    Reply, TestApp,
    accounts::{Browser, Person, register},
};

/// A conversation with these answers, of which none was rendered yet.
async fn conversation(app: &TestApp, person: &Person, answers: &[String]) -> String {
    let id = person.conversation().await;
    let mut database = app.database().await;
    for (at, answer) in answers.iter().enumerate() {
        sqlx::query(
            "INSERT INTO messages (id, organization_id, conversation_id, author, content, model, status, created_at, updated_at)
             VALUES (gen_random_uuid(), $1::uuid, $2::uuid, 'assistant', $3, 'm', 'complete', now() + make_interval(secs => $4), now())",
        )
        .bind(&person.organization)
        .bind(&id)
        .bind(answer)
        .bind(f64::from(u32::try_from(at).unwrap()))
        .execute(&mut database)
        .await
        .unwrap();
    }
    format!("/c/{id}")
}

/// Public reports: servo/html5ever #788, showdownjs/showdown #1048.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_would_cost_too_much_is_shown_plain_and_holds_up_no_other_organisation() {
    let app = TestApp::start().await;
    let (ada, eve) = (register(&app).await, register(&app).await);
    let table = format!(
        "|{}\n|{}\n{}\n",
        "a|".repeat(1_000),
        "-|".repeat(1_000),
        "|b\n".repeat(480)
    );
    let hostile: Vec<String> = (0..100)
        .map(|n| match n % 3 {
            0 => format!("{n}{}", ">".repeat(60_000)),
            1 => format!("{n}\n\n{table}{table}"),
            _ => format!("{n}\n\n{}", "*a_ ".repeat(4_000)),
        })
        .collect();
    let slow = conversation(&app, &eve, &hostile).await;
    let quick = conversation(&app, &ada, &["**Well**".to_owned()]).await;
    let (ada, eve) = (Browser::sign_in(&app, &ada).await, Browser::sign_in(&app, &eve).await);
    // Several tabs of one organisation.
    let tabs = async { tokio::join!(eve.get(&slow), eve.get(&slow), eve.get(&slow)) };
    let others = async {
        // Each for the first time: what was made once is not what is looked at here.
        let page = ada.get(&quick).await;
        assert_eq!(page.status, 200);
        assert!(
            page.text().contains("<strong>Well</strong>"),
            "rendered, in its own turn"
        );
    };
    let (tabs, ()) = tokio::join!(tabs, others);
    for page in [tabs.0, tabs.1, tabs.2] {
        assert_eq!(page.status, 200);
        let (page, text) = (page.text(), hostile.iter().map(String::len).sum::<usize>());
        assert!(page.contains("class=\"plain\"") && !page.contains("<table"));
        // Escaped it is longer than written, but not by much.
        assert!(page.len() < 5 * text, "{} bytes of page for {text}", page.len());
    }
}

#[tokio::test]
async fn pictures_do_not_load_and_do_not_vanish() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let path = format!("/api/conversations/{}/messages", ada.conversation().await);
    app.upstream.reply(
        Reply::events()
            .text("![A picture](https://pictures.example/p.png)")
            .done(),
    );
    let body = json!({"content": "Show me", "render": true});
    let done = ada.client.stream(&path, &body).await.until("done").await.json();
    let html = done["html"].as_str().unwrap();
    assert!(html.contains(">A picture</a>") && !html.contains("<img"), "{html}");
    assert!(
        html.contains("target=\"_blank\"") && html.contains("noopener"),
        "{html}"
    );
}
