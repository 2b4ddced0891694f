//! Pages as they are served: a change of a template shows what becomes of the HTML. What differs each time is made equal.

use http::Method;
use insta::{assert_snapshot, with_settings};
use serde_json::json;

use crate::support::{
    Answer, Reply, TestApp,
    accounts::{Browser, register},
    eventually,
};

/// Patterns of what is new in each run, and what stands for it.
const FILTERS: [(&str, &str); 9] = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[id]"),
    (r">[0-9a-f]{12}</code>", ">[end of id]</code>"),
    (r"/assets/([a-z_-]+)\.[0-9a-f]{16}\.", "/assets/$1.[hash]."),
    (r#"(csrf[-_]token"(?: content| value)=")[^"]+"#, "$1[token]"),
    (r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", "[time]"),
    (r"\d{4}-\d{2}-\d{2} \d{2}:\d{2} UTC", "[minute]"),
    (r"\d{4}-\d{2}-\d{2}", "[day]"),
    (r"person-\d+@", "person@"),
    (r"mk_[A-Za-z0-9_-]+", "mk_[prefix]"),
];

fn assert_page(name: &str, html: &str) {
    with_settings!({ filters => FILTERS, omit_expression => true }, { assert_snapshot!(name, html) });
}

#[tokio::test]
async fn snapshot_of_pages_to_strangers() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let invitation = json!({"email": "grace@maple.test", "role": "member"});
    let invitation = ada.client.post("/api/invitations", &invitation).await.ok(201);
    let invited = format!("/invite/{}", invitation["token"].as_str().unwrap());
    for (name, path, status) in [
        ("sign-in", "/sign-in?next=/keys&why=ended", 200),
        ("register", "/register", 200),
        ("docs", "/api/docs", 200),
        ("not-found", "/nothing", 404),
        ("invite", &invited, 200),
        ("invite-unknown", "/invite/mi_unknown", 404),
    ] {
        let request = app.client.request(Method::GET, path).header("accept", "text/html");
        let answer = Answer::of(request).await;
        assert_eq!(answer.status, status, "{path}");
        assert_page(name, &answer.text().replace(&invited, "/invite/[token]"));
    }
}

#[tokio::test]
async fn snapshot_of_pages_to_who_is_signed_in() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let browser = Browser::sign_in(&app, &ada).await;
    assert_page("start", &browser.get("/").await.text());
    // A page of each kind with one of what it lists.
    ada.create_key().await;
    let invitation = json!({"email": "grace@maple.test", "role": "member"});
    ada.client.post("/api/invitations", &invitation).await.ok(201);
    let conversation = ada.conversation().await;
    app.upstream
        .reply(Reply::events().text("Well, **yes**: `a < b`.").usage(5, 7).done());
    let question = json!({"content": "Is <b> a tag?"});
    ada.client
        .stream(&format!("/api/conversations/{conversation}/messages"), &question)
        .await
        .until("done")
        .await;
    // Its record is written behind the answer.
    eventually("the usage record", || async {
        let mut database = app.database().await;
        let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM usage_records");
        (count.fetch_one(&mut database).await.unwrap() == 1).then_some(())
    })
    .await;
    for (name, path) in [
        ("conversation", &*format!("/c/{conversation}")),
        ("keys", "/keys"),
        ("settings", "/settings"),
        ("audit", "/audit"),
    ] {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_page(name, &answer.text());
    }
}
