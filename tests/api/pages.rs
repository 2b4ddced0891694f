//! The pages as a browser meets them: forms, redirects, and what is on them.

mod forms;
mod parts;
mod rendering;
mod served;

use http::Method;
use serde_json::json;

use crate::support::{
    Answer, Client, Reply, TestApp,
    accounts::{Browser, PASSWORD, fresh_email, register},
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
    for reply in [
        Reply::events().text("Some of it").break_off(),
        Reply::json(500, &json!({})),
    ] {
        let conversation = ada.conversation().await;
        app.upstream.reply(reply);
        let path = format!("/api/conversations/{conversation}/messages");
        ada.client
            .stream(&path, &json!({"content": "Hello?"}))
            .await
            .rest()
            .await;
        let stored = ada
            .client
            .get(&format!("/api/conversations/{conversation}"))
            .await
            .ok(200);
        let why = stored["messages"][1]["detail"].as_str().unwrap();
        let page = browser.get(&format!("/c/{conversation}")).await.text();
        let card = page.split("class=\"why\"").nth(1).unwrap();
        assert!(card.contains(&format!("<p dir=\"auto\">{why}</p>")), "{page}");
        assert!(!page.contains("Stopped here"), "nobody stopped it");
    }
}

/// Where a session has ended, and for how long somebody is kept out, is said.
#[tokio::test]
async fn the_sign_in_page_says_why_and_for_how_long() {
    let app = TestApp::start_with(|config| config.auth.throttle_per_account = 3).await;
    let ended = app.client.get("/sign-in?why=ended&next=/keys").await.text();
    assert!(
        ended.contains("Your session has ended") && ended.contains("value=\"/keys\""),
        "{ended}"
    );
    for other in ["/sign-in", "/sign-in?why=%3Cscript%3E"] {
        let page = app.client.get(other).await.text();
        assert!(!page.contains("has ended") && !page.contains("&lt;script"), "{page}");
    }
    let (email, mut refused) = (fresh_email(), None);
    for _ in 0..40 {
        let answer = post_form(&app.client, "/sign-in", &[("email", &email), ("password", "wrong")]).await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("somebody who guesses is slowed down");
    let page = refused.text();
    assert!(page.contains("Try again in "), "{page}");
    assert!(
        page.contains(&format!("value=\"{email}\"")),
        "the address stays: {page}"
    );
}

/// Whoever has to end one session of several can tell which.
#[tokio::test]
async fn sessions_are_named_by_the_browser_that_opened_them() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let agent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0";
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("email", &*ada.email), ("password", PASSWORD)])
        .finish();
    let request = app
        .client
        .request(Method::POST, "/sign-in")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("user-agent", agent);
    assert_eq!(Answer::of(request.body(form)).await.status, 303);
    let listed = ada.client.get("/api/sessions").await.ok(200);
    let sessions = listed["data"].as_array().unwrap();
    let browser = sessions.iter().find(|session| session["kind"] == "browser").unwrap();
    assert_eq!(browser["device"], "Firefox on Windows");
    let program = sessions.iter().find(|session| session["kind"] == "program").unwrap();
    assert!(program["device"].is_null(), "{program}");
    let page = Browser::sign_in(&app, &ada).await.get("/settings").await.text();
    assert!(page.contains("Firefox on Windows"), "{page}");
}
