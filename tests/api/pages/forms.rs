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

/// A password is refused in words beside its field, wherever one is chosen, and the rest is as it was filled in.
#[tokio::test]
async fn a_refused_password_is_explained_where_it_is_chosen_and_loses_nothing_else() {
    let app = TestApp::start_with(|config| config.auth.password_min_length = 14).await;
    let ada = register(&app).await;
    let browser = Browser::sign_in(&app, &ada).await;
    let body = json!({"email": fresh_email(), "role": "member"});
    let invitation = ada.client.post("/api/invitations", &body).await.ok(201);
    let invite = format!("/invite/{}", invitation["token"].as_str().unwrap());
    let registering = [
        ("email", "new@maple.test"),
        ("name", "Grace \"G\" Hopper"),
        ("organization", "A & B"),
    ];
    let kept = ["new@maple.test", "Grace &#34;G&#34; Hopper", "A &#38; B"];
    for (path, fields, kept) in [
        ("/register", &registering[..], &kept[..]),
        (&*invite, &[("name", "Grace Hopper")], &["Grace Hopper"]),
        (
            "/settings/password",
            &[("current_password", PASSWORD), ("revoke_keys", "on")],
            &["name=\"revoke_keys\" checked"],
        ),
    ] {
        for (password, says) in [
            ("too-short-x7#", "Password must have at least 14 characters."),
            (
                "Password12345!",
                "assword is one of the passwords that are guessed first",
            ),
            ("aaaaaaaaaaaaaaaa", "assword must have at least 5 different characters."),
        ] {
            let answer = browser
                .submit(path, &[fields, &[("password", password)]].concat())
                .await;
            let page = answer.text();
            assert_eq!(answer.status, 422, "{path}: {page}");
            let field = page.split("name=\"password\"").nth(1).unwrap();
            let tag = field.split('>').next().unwrap();
            assert!(
                tag.contains("aria-invalid=\"true\" aria-describedby=\"password-fault\"") && tag.contains("autofocus"),
                "{path}: {tag}"
            );
            let fault = field.split("id=\"password-fault\"").nth(1).unwrap();
            let fault = fault.split("</p>").next().unwrap().to_lowercase();
            assert!(fault.contains(&says.to_lowercase()), "{path}: {fault}");
            for text in kept {
                assert!(page.contains(text), "{path} keeps {text}: {page}");
            }
            assert!(
                !page.contains(password) && !page.contains(PASSWORD),
                "{path} gives no password back"
            );
        }
        let shown = if path == "/settings/password" {
            "/settings"
        } else {
            path
        };
        let page = browser.get(shown).await.text();
        assert!(
            page.contains("At least 14 characters"),
            "{path} says what is asked for: {page}"
        );
    }
}

/// A name or an address is corrected, not typed again.
#[tokio::test]
async fn what_is_refused_in_the_settings_stands_where_it_was_typed() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let browser = Browser::sign_in(&app, &ada).await;
    let long = "A name that goes on ".repeat(6);
    let renamed = browser.submit("/settings/profile", &[("name", &long)]).await;
    assert_eq!(renamed.status, 422);
    assert!(
        renamed.text().contains(&format!("value=\"{long}\"")),
        "{}",
        renamed.text()
    );
    let invited = browser
        .submit("/settings/invitations", &[("email", "grace@"), ("role", "admin")])
        .await;
    assert_eq!(invited.status, 422);
    let page = invited.text();
    assert!(page.contains("value=\"grace@\""), "{page}");
    assert!(page.contains("<option selected>admin</option>"), "{page}");
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

/// Whoever got hold of a page's token cannot use it from a page of their own.
#[tokio::test]
async fn a_form_that_another_site_sends_is_refused_whatever_it_carries() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let browser = Browser::sign_in(&app, &ada).await;
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("csrf_token", &browser.csrf_token)
        .finish();
    for (site, status) in [("cross-site", 403), ("same-site", 403), ("same-origin", 303)] {
        let sent = app
            .client
            .request(http::Method::POST, "/settings/sessions/end-others")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("cookie", &browser.cookie)
            .header("sec-fetch-site", site)
            .body(form.clone());
        assert_eq!(crate::support::Answer::of(sent).await.status, status, "{site}");
    }
}
