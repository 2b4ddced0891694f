//! The pages as a browser meets them: forms, redirects, and what is on them.

use http::Method;
use serde_json::json;

use crate::support::{
    Answer, Client, Reply, TestApp,
    accounts::{Browser, PASSWORD, Person, fresh_email, join, register},
    eventually,
};

async fn post_form(client: &Client, path: &str, fields: &[(&str, &str)]) -> Answer {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let request = client
        .request(Method::POST, path)
        .header("content-type", "application/x-www-form-urlencoded");
    Answer::of(request.body(form)).await
}

/// Loading the page again after a form must not send the form again.
#[tokio::test]
async fn forms_lead_back_to_the_page() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let (member, leaver) = (join(&app, &ada, "member").await, join(&app, &ada, "member").await);
    let browser = Browser::sign_in(&app, &ada).await;
    let sessions = ada.client.get("/api/sessions").await.ok(200);
    let oldest = sessions["data"].as_array().unwrap().last().unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let invitation = json!({"email": fresh_email(), "role": "member"});
    let invitation = ada.client.post("/api/invitations", &invitation).await.ok(201);
    let invitation = invitation["id"].as_str().unwrap();
    let new = [
        ("current_password", PASSWORD),
        ("password", "another horse, another battery"),
    ];
    for (path, fields, says) in [
        (
            "/settings/profile".to_owned(),
            &[("name", "Ada King")][..],
            "Your name is changed.",
        ),
        ("/settings/password".to_owned(), &new[..], "Your password is changed."),
        (
            format!("/settings/members/{}", member.id),
            &[("role", "admin")],
            "The role is changed.",
        ),
        (
            format!("/settings/members/{}/remove", leaver.id),
            &[],
            "The person is removed",
        ),
        (
            format!("/settings/members/{}/remove", ada.id),
            &[],
            "You cannot remove yourself",
        ),
        (
            format!("/settings/members/{}", ada.id),
            &[("role", "member")],
            "needs at least one owner",
        ),
        (
            format!("/settings/invitations/{invitation}/revoke"),
            &[],
            "The invitation is withdrawn.",
        ),
        (
            "/settings/cache/purge".to_owned(),
            &[],
            "Remembered answers are forgotten by the instance",
        ),
        (
            "/settings/sessions/end-others".to_owned(),
            &[],
            "signed out everywhere else",
        ),
    ] {
        let answer = browser.submit(&path, fields).await;
        assert_eq!(answer.status, 303, "{path}: {}", answer.text());
        let target = answer.header("location").to_owned();
        assert!(target.starts_with("/settings?"), "{path} leads to {target}");
        let page = browser.get(&target).await;
        assert_eq!(page.status, 200);
        assert!(page.text().contains(says), "{path}: {target}");
    }
    // The new password had ended that one already, and nothing says otherwise.
    assert_eq!(
        browser
            .submit(&format!("/settings/sessions/{oldest}/end"), &[])
            .await
            .status,
        404
    );
    let page = browser.get("/settings").await.text();
    assert!(page.contains("Ada King") && !page.contains(&leaver.email), "{page}");
    // Words that are none of ours are not shown.
    let page = browser.get("/settings?done=You+have+won&fault=everything").await.text();
    assert!(
        !page.contains("You have won") && !page.contains("role=\"alert\""),
        "{page}"
    );
}

#[tokio::test]
async fn a_form_with_something_to_mend_is_answered_in_place_and_leads_nowhere_wrong() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let browser = Browser::sign_in(&app, &ada).await;
    let wrong = [
        ("current_password", "wrong"),
        ("password", "another horse, another battery"),
    ];
    for (path, fields, says) in [
        ("/settings/profile", &[("name", "")][..], "Name must"),
        ("/settings/password", &wrong[..], "Current password is wrong"),
        (
            "/settings/invitations",
            &[("email", "nobody"), ("role", "member")][..],
            "E-mail must be",
        ),
    ] {
        let answer = browser.submit(path, fields).await;
        assert_eq!(answer.status, 422, "{path}");
        assert!(answer.text().contains(says), "{path}: {}", answer.text());
        let loaded = browser.get(path).await;
        assert_eq!(
            (loaded.status.as_u16(), loaded.header("location")),
            (303, "/settings"),
            "{path}"
        );
    }
    let unreadable = browser
        .submit("/settings/invitations", &[("email", "a@b.test"), ("role", "king")])
        .await;
    assert_eq!(unreadable.status, 422);
    assert!(
        unreadable.text().contains("owner"),
        "it names what is allowed: {}",
        unreadable.text()
    );
}

#[tokio::test]
async fn an_invitation_is_shown_once_and_only_where_it_was_made() {
    let app = TestApp::start().await;
    let (ada, eve) = (register(&app).await, register(&app).await);
    let (browser, other) = (Browser::sign_in(&app, &ada).await, Browser::sign_in(&app, &eve).await);
    let made = browser
        .submit(
            "/settings/invitations",
            &[("email", &fresh_email()), ("role", "member")],
        )
        .await;
    assert_eq!(made.status, 303, "{}", made.text());
    assert_eq!(made.header("location"), "/settings#invitations");
    let cookie = made.header("set-cookie").to_owned();
    for attribute in [
        "maple_invitation=mi_",
        "HttpOnly",
        "SameSite=Lax",
        "Path=/settings",
        "Max-Age=60",
    ] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let carried = cookie.split(';').next().unwrap();
    let token = carried.split_once('=').unwrap().1;
    let page_of = |browser: &Browser| {
        let cookies = format!("{}; {carried}", browser.cookie);
        let request = app.client.request(Method::GET, "/settings").header("cookie", cookies);
        Answer::of(request)
    };
    let page = page_of(&browser).await;
    assert!(page.text().contains(&format!("/invite/{token}")), "{}", page.text());
    assert!(
        page.header("set-cookie").contains("maple_invitation=; "),
        "it is forgotten"
    );
    assert!(
        !page_of(&other).await.text().contains(token),
        "somebody else's is not shown"
    );
    let accept = json!({"token": token, "name": "Grace", "password": PASSWORD});
    app.client.post("/api/invitations/accept", &accept).await.ok(201);
}

#[tokio::test]
async fn signing_in_leads_back_to_where_one_was() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let conversation = format!("/c/{}", ada.conversation().await);
    let credentials = [("email", &*ada.email), ("password", PASSWORD)];
    for path in ["/keys", "/settings", &conversation] {
        let refused = app.client.get(path).await;
        assert_eq!(refused.status, 303);
        let target = refused.header("location").to_owned();
        assert!(target.starts_with("/sign-in?next=%2F"), "{target}");
        let page = app.client.get(&target).await.text();
        assert!(page.contains(&format!("name=\"next\" value=\"{path}\"")), "{page}");
        let wrong = [credentials[0], ("password", "wrong"), ("next", path)];
        let again = post_form(&app.client, "/sign-in", &wrong).await;
        assert_eq!(again.status, 401);
        assert!(
            again.text().contains(&format!("value=\"{path}\"")),
            "a wrong password forgets nothing"
        );
        let fields = [credentials[0], credentials[1], ("next", path)];
        let entered = post_form(&app.client, "/sign-in", &fields).await;
        assert_eq!((entered.status.as_u16(), entered.header("location")), (303, path));
    }
    for elsewhere in ["//evil.example", "https://evil.example/", "/sign-out", "/c/x", ""] {
        let fields = [credentials[0], credentials[1], ("next", elsewhere)];
        let entered = post_form(&app.client, "/sign-in", &fields).await;
        assert_eq!(
            (entered.status.as_u16(), entered.header("location")),
            (303, "/"),
            "{elsewhere}"
        );
        let page = app.client.get(&format!("/sign-in?next={elsewhere}")).await.text();
        assert!(!page.contains("name=\"next\""), "{page}");
    }
}

/// For who does not see the colour, and for who hears the page.
#[tokio::test]
async fn how_an_answer_ended_is_text() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let browser = Browser::sign_in(&app, &ada).await;
    for (reply, words) in [
        (Reply::events().text("Some of it").break_off(), "Stopped here"),
        (Reply::json(500, &json!({})), "No answer came"),
    ] {
        let conversation = ada.conversation().await;
        app.upstream.reply(reply);
        let path = format!("/api/conversations/{conversation}/messages");
        ada.client
            .stream(&path, &json!({"content": "Hello?"}))
            .await
            .rest()
            .await;
        let page = browser.get(&format!("/c/{conversation}")).await.text();
        assert!(page.contains(&format!("<p class=\"end\">{words}</p>")), "{page}");
    }
    let css = app.client.get(&asset(&browser, "app").await).await.text();
    assert!(!css.contains("Stopped here") && !css.contains("No answer came"));
}

/// The stylesheet's address, as the page names it.
async fn asset(browser: &Browser, name: &str) -> String {
    let page = browser.get("/").await.text();
    let link = page.split("rel=\"stylesheet\" href=\"").nth(1).unwrap();
    let path = link.split('"').next().unwrap().to_owned();
    assert!(path.contains(name), "{path}");
    path
}

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
    fill(&app, &ada, &conversation, 60, 300_000).await;
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
    assert_eq!(numbers, (1..=60).collect::<Vec<_>>());
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
    assert_eq!(sent.len(), 2, "one earlier message fits beside the question");
    assert_eq!(sent[1]["content"], "And now?");
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
