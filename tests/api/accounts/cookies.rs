//! The page's cookie: whose it is where a browser sends several, and what is left behind at signing out.

use http::Method;

use crate::support::{
    Answer, TestApp,
    accounts::{Browser, PASSWORD, register},
};

/// A sibling domain can set a cookie of this name, with a longer path, so that it comes first.
#[tokio::test]
async fn a_planted_cookie_does_not_sign_anybody_out() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let browser = Browser::sign_in(&app, &ada).await;
    let planted = format!(
        "maple_session=ms_{}; maple_session=junk; {}",
        "A".repeat(43),
        browser.cookie
    );
    let with_both = Browser::with_cookie(&app.client, planted).await;
    // The anti-forgery token is that of the good one.
    assert_eq!(with_both.csrf_token, browser.csrf_token);
    let changed = with_both.submit("/settings/profile", &[("name", "Ada King")]).await;
    assert_eq!(changed.status, 303, "{}", changed.text());
}

#[tokio::test]
async fn outside_development_the_cookie_is_the_hosts_own() {
    let app = TestApp::start_with(|config| {
        config.environment = configuration::Environment::Staging;
        config.server.public_url = "https://maple.test".parse().unwrap();
    })
    .await;
    let ada = register(&app).await;
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("email", ada.email.as_str()), ("password", PASSWORD)])
        .finish();
    let request = app
        .client
        .request(Method::POST, "/sign-in")
        .header("content-type", "application/x-www-form-urlencoded");
    let entered = Answer::of(request.body(form)).await;
    assert_eq!(entered.status, 303, "{}", entered.text());
    let set = entered.header("set-cookie").to_owned();
    assert!(set.starts_with("__Host-maple_session=ms_"), "{set}");
    for attribute in ["; Path=/;", "; Secure", "; HttpOnly", "; SameSite=Lax"] {
        assert!(set.contains(attribute), "{attribute} is missing in {set}");
    }
    assert!(!set.to_lowercase().contains("domain="), "{set}");
    let cookie = set.split(';').next().unwrap();
    let with = |cookie: &str| Answer::of(app.client.request(Method::GET, "/settings").header("cookie", cookie));
    assert_eq!(with(cookie).await.status, 200);
    // Anybody can plant one under the bare name.
    assert_eq!(with(cookie.strip_prefix("__Host-").unwrap()).await.status, 303);
}

#[tokio::test]
async fn signing_out_makes_the_browser_forget_what_it_kept_but_not_what_was_written() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let browser = Browser::sign_in(&app, &ada).await;
    let out = browser.submit("/sign-out", &[]).await;
    assert_eq!((out.status.as_u16(), out.header("clear-site-data")), (303, "\"cache\""));
    let out = ada.client.post("/api/auth/logout", &serde_json::json!({})).await;
    assert_eq!((out.status.as_u16(), out.header("clear-site-data")), (204, "\"cache\""));
}
