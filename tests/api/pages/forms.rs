//! Forms: where they lead, and how they are answered.

use serde_json::json;

use crate::support::{
    TestApp,
    accounts::{Browser, PASSWORD, fresh_email, join, register},
};

/// Loading the page again after a form must not send the form again.
#[tokio::test]
async fn forms_lead_back_to_the_page() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let (member, leaver) = (join(&app, &ada, "member").await, join(&app, &ada, "member").await);
    let mut browser = Browser::sign_in(&app, &ada).await;
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
        if answer.headers.contains_key("set-cookie") {
            browser = Browser::with_cookie_of(&app.client, &answer).await;
        }
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
