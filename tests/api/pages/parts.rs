//! What is long is shown in parts.

use serde_json::json;

use crate::support::{
    Reply, TestApp,
    accounts::{Browser, Person, join, register},
    eventually,
};

#[tokio::test]
async fn long_lists_go_on_on_the_next_page() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let member = join(&app, &ada, "member").await;
    let browser = Browser::sign_in(&app, &ada).await;
    let mut database = app.database().await;
    sqlx::query(
        "INSERT INTO api_keys (id, organization_id, user_id, name, prefix, digest, created_at)
         SELECT gen_random_uuid(), $1::uuid, $2::uuid, 'key-' || n || '.', 'mk_abcdef', sha256(n::text::bytea),
             now() - make_interval(mins => n)
         FROM generate_series(1, 120) n",
    )
    .bind(&ada.organization)
    .bind(&member.id)
    .execute(&mut database)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO users (id, organization_id, email, email_folded, name, role, password_hash, created_at, updated_at)
         SELECT gen_random_uuid(), $1::uuid, n || '@many.test', n || '@many.test', 'person-' || n || '.', 'member', '',
             now() + make_interval(mins => n), now()
         FROM generate_series(1, 120) n",
    )
    .bind(&ada.organization)
    .execute(&mut database)
    .await
    .unwrap();
    let next = |page: &str, start: &str| -> String {
        let link = page
            .split(&format!("href=\"{start}"))
            .nth(1)
            .expect("a link to the next page");
        let rest = link.split('"').next().unwrap();
        format!("{start}{}", rest.split('#').next().unwrap())
    };
    let first = browser.get("/keys").await.text();
    assert!(first.contains("key-1.") && !first.contains("key-101.") && !first.contains("Newest keys"));
    assert!(
        first.contains("Grace Hopper"),
        "an administrator sees whose keys they are"
    );
    let second = browser.get(&next(&first, "/keys?cursor=")).await.text();
    assert!(second.contains("key-120.") && second.contains("key-101.") && !second.contains("key-100."));
    assert!(second.contains("Newest keys") && !second.contains("Older keys"));
    let members = Browser::sign_in(&app, &member).await.get("/keys").await.text();
    assert!(members.contains("key-1.") && !members.contains("Made by"));

    let first = browser.get("/settings").await.text();
    assert!(first.contains("person-98.") && !first.contains("person-99."));
    let second = browser.get(&next(&first, "/settings?members=")).await.text();
    assert!(second.contains("person-120.") && second.contains("person-99.") && !second.contains("person-98."));
}

#[tokio::test]
async fn a_long_conversation_is_shown_in_parts() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let browser = Browser::sign_in(&app, &ada).await;
    let conversation = ada.conversation().await;
    fill(&app, &ada, &conversation, 250, 10).await;
    let newest = browser.get(&format!("/c/{conversation}")).await.text();
    assert!(newest.contains("message-250.") && newest.contains("message-51.") && !newest.contains("message-50."));
    let cursor = newest.split("?before=").nth(1).unwrap().split('"').next().unwrap();
    let earlier = browser.get(&format!("/c/{conversation}?before={cursor}")).await.text();
    assert!(earlier.contains("message-50.") && earlier.contains("message-1.") && !earlier.contains("message-51."));
    assert!(earlier.contains("Back to the newest messages") && !earlier.contains("Earlier messages"));
    assert!(
        earlier.contains("id=\"composer\" hidden"),
        "nothing is asked in the middle"
    );
    assert_eq!(browser.get(&format!("/c/{conversation}?before=x")).await.status, 422);
}

/// Puts messages of `bytes` into a conversation: questions and answers in turns, numbered, oldest first.
async fn fill(app: &TestApp, owner: &Person, conversation: &str, messages: i32, bytes: i32) {
    sqlx::query(
        "INSERT INTO messages (id, organization_id, conversation_id, author, content, status, created_at, updated_at)
         SELECT gen_random_uuid(), $1::uuid, $2::uuid, CASE WHEN n % 2 = 1 THEN 'user' ELSE 'assistant' END,
             'message-' || n || '. ' || repeat('x', $4), 'complete', now() - interval '1 day' + make_interval(secs => n), now()
         FROM generate_series(1, $3) n",
    )
    .bind(&owner.organization)
    .bind(conversation)
    .bind(messages)
    .bind(bytes)
    .execute(&mut app.database().await)
    .await
    .unwrap();
}

/// What is given at once is bounded in bytes, and nothing of it is out of reach.
#[tokio::test]
async fn a_conversation_is_read_in_parts_of_bounded_size() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let conversation = ada.conversation().await;
    // 18 MB, of which all would be held at once.
    fill(&app, &ada, &conversation, 120, 150_000).await;
    let path = format!("/api/conversations/{conversation}");
    let (mut numbers, mut query) = (Vec::new(), String::new());
    loop {
        let answer = ada.client.get(&format!("{path}{query}")).await;
        assert!(answer.text().len() < 2_500_000, "{} bytes", answer.text().len());
        let part = answer.ok(200);
        let here = part["messages"].as_array().unwrap().iter().map(|message| {
            let text = message["content"].as_str().unwrap();
            text["message-".len()..]
                .split('.')
                .next()
                .unwrap()
                .parse::<u32>()
                .unwrap()
        });
        numbers = here.chain(numbers).collect();
        let Some(cursor) = part["next_cursor"].as_str() else {
            break;
        };
        query = format!("?cursor={cursor}");
    }
    assert_eq!(numbers, (1..=120).collect::<Vec<_>>());
    ada.client
        .get(&format!("{path}?cursor=x"))
        .await
        .problem(422, "invalid_fields");

    // A question takes along what models take, and no more.
    ada.client
        .stream(&format!("{path}/messages"), &json!({"content": "And now?"}))
        .await
        .rest()
        .await;
    let sent = app.upstream.only_call().json();
    let sent = sent["messages"].as_array().unwrap();
    assert_eq!(sent.len(), 3, "two earlier messages fit beside the question");
    assert_eq!(
        (&sent[0]["role"], &sent[2]["content"]),
        (&json!("user"), &json!("And now?"))
    );
}

/// One message that is larger than what is given at once is given all the same.
#[tokio::test]
async fn an_answer_larger_than_any_window_can_be_read_and_asked_for_again() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let conversation = ada.conversation().await;
    fill(&app, &ada, &conversation, 2, 2_500_000).await;
    let path = format!("/api/conversations/{conversation}");
    let part = ada.client.get(&path).await.ok(200);
    assert_eq!(part["messages"].as_array().unwrap().len(), 1);
    assert!(part["next_cursor"].is_string());
    app.upstream.reply(Reply::events().text("Shorter").usage(1, 1).done());
    ada.client
        .stream(&format!("{path}/regenerate"), &json!({}))
        .await
        .rest()
        .await;
    let question = app.upstream.only_call().json()["messages"][0]["content"]
        .as_str()
        .unwrap()
        .len();
    assert_eq!(question, 2_500_011);
    eventually("the answer's change", || async {
        let part = ada.client.get(&path).await.ok(200);
        let last = part["messages"].as_array()?.last()?.clone();
        (last["content"] == "Shorter").then_some(())
    })
    .await;
}
