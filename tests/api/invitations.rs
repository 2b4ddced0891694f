//! Inviting people, and the roles they have.

mod addresses;
mod standing;

use serde_json::json;

use crate::support::{
    TestApp,
    accounts::{PASSWORD, Person, fresh_email, join, register},
};

#[tokio::test]
async fn an_invitation_works_once() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let email = fresh_email();
    let body = json!({"email": email, "role": "member"});
    let invitation = ada.client.post("/api/invitations", &body).await.ok(201);
    assert_eq!(invitation["email"], email.as_str());
    assert_eq!(invitation["role"], "member");
    let token = invitation["token"].as_str().unwrap();
    assert_eq!(invitation["url"], format!("http://maple.test/invite/{token}"));

    // Listed without what opens it.
    let listed = ada.client.get("/api/invitations").await.ok(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    assert_eq!(listed["data"][0]["id"], invitation["id"]);
    assert!(listed["data"][0].get("token").is_none() && !listed.to_string().contains(token));

    let accept = json!({"token": token, "name": "Grace Hopper", "password": PASSWORD});
    let weak = json!({"token": token, "name": "Grace Hopper", "password": "weak"});
    app.client
        .post("/api/invitations/accept", &weak)
        .await
        .problem(422, "invalid_fields");
    let grace = Person::of(
        &app.client,
        &app.client.post("/api/invitations/accept", &accept).await.ok(201),
    );
    let me = grace.client.get("/api/users/me").await.ok(200);
    assert_eq!(me["email"], email.as_str());
    assert_eq!(me["role"], "member");
    assert_eq!(me["organization"]["id"], ada.organization.as_str());
    assert_eq!(
        ada.client.get("/api/users").await.ok(200)["data"]
            .as_array()
            .unwrap()
            .len(),
        2
    );

    app.client
        .post("/api/invitations/accept", &accept)
        .await
        .problem(404, "invitation_not_found");
    assert_eq!(ada.client.get("/api/invitations").await.ok(200)["data"], json!([]));
}

#[tokio::test]
async fn two_who_accept_at_once_make_one_account() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let body = json!({"email": fresh_email(), "role": "member"});
    let invitation = ada.client.post("/api/invitations", &body).await.ok(201);
    let accept = json!({"token": invitation["token"], "name": "Grace Hopper", "password": PASSWORD});
    let answers =
        futures_util::future::join_all((0..4).map(|_| app.client.post("/api/invitations/accept", &accept))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert!(
        answers
            .iter()
            .all(|answer| [201, 404, 409].contains(&answer.status.as_u16())),
        "{answers:?}"
    );
}

#[tokio::test]
async fn a_withdrawn_or_unknown_invitation_opens_nothing() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let body = json!({"email": fresh_email(), "role": "member"});
    let invitation = ada.client.post("/api/invitations", &body).await.ok(201);
    let path = format!("/api/invitations/{}", invitation["id"].as_str().unwrap());
    ada.client.delete(&path).await.ok(204);
    ada.client.delete(&path).await.problem(404, "invitation_not_found");
    for token in [invitation["token"].as_str().unwrap(), "", "mi_junk"] {
        let accept = json!({"token": token, "name": "Grace", "password": PASSWORD});
        app.client
            .post("/api/invitations/accept", &accept)
            .await
            .problem(404, "invitation_not_found");
    }
}

#[tokio::test]
async fn an_expired_invitation_opens_nothing() {
    let app = TestApp::start_with(|config| config.auth.invitation_ttl = std::time::Duration::from_secs(1)).await;
    let ada = register(&app).await;
    let body = json!({"email": fresh_email(), "role": "member"});
    let invitation = ada.client.post("/api/invitations", &body).await.ok(201);
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let accept = json!({"token": invitation["token"], "name": "Grace", "password": PASSWORD});
    app.client
        .post("/api/invitations/accept", &accept)
        .await
        .problem(404, "invitation_not_found");
    assert_eq!(ada.client.get("/api/invitations").await.ok(200)["data"], json!([]));
}

#[tokio::test]
async fn only_owners_and_admins_invite_and_nobody_above_themselves() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let admin = join(&app, &owner, "admin").await;
    let member = join(&app, &admin, "member").await;
    for (person, role, status) in [
        (&owner, "owner", 201),
        (&owner, "admin", 201),
        (&admin, "admin", 201),
        (&admin, "member", 201),
        (&admin, "owner", 403),
        (&member, "member", 403),
        (&member, "owner", 403),
    ] {
        let answer = person
            .client
            .post("/api/invitations", &json!({"email": fresh_email(), "role": role}))
            .await;
        assert_eq!(answer.status, status, "{role}: {}", answer.text());
    }
    member.client.get("/api/invitations").await.problem(403, "not_allowed");
    let id = admin.client.get("/api/invitations").await.ok(200)["data"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    member
        .client
        .delete(&format!("/api/invitations/{id}"))
        .await
        .problem(403, "not_allowed");
    let body = json!({"email": fresh_email(), "role": "root"});
    owner
        .client
        .post("/api/invitations", &body)
        .await
        .problem(422, "invalid_fields");
    for role in [json!(3), json!(["owner"]), json!({"owner": 1}), json!(null)] {
        let body = json!({"email": fresh_email(), "role": role});
        let problem = owner
            .client
            .post("/api/invitations", &body)
            .await
            .problem(422, "invalid_fields");
        let field = problem["errors"][0]["field"].as_str().unwrap();
        assert!(field.starts_with("role"), "{problem}");
    }
    let page = crate::support::accounts::Browser::sign_in(&app, &member).await;
    let fields = [("email", "somebody@maple.test"), ("role", "member")];
    assert_eq!(page.submit("/settings/invitations", &fields).await.status, 403);
    let body = json!({"email": "no address", "role": "member"});
    owner
        .client
        .post("/api/invitations", &body)
        .await
        .problem(422, "invalid_fields");
}

#[tokio::test]
async fn roles_are_given_from_above_and_take_effect_at_once() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let admin = join(&app, &owner, "admin").await;
    let member = join(&app, &owner, "member").await;
    let give = |by: &Person, to: &Person, role: &str| {
        let (client, path, body) = (
            by.client.clone(),
            format!("/api/users/{}", to.id),
            json!({"role": role}),
        );
        async move { client.patch(&path, &body).await }
    };
    give(&member, &admin, "member").await.problem(403, "not_allowed");
    give(&member, &member, "owner").await.problem(403, "not_allowed");
    give(&admin, &member, "owner").await.problem(403, "not_allowed");
    give(&admin, &admin, "owner").await.problem(403, "not_allowed");
    give(&admin, &owner, "member").await.problem(403, "not_allowed");
    member.client.get("/api/invitations").await.problem(403, "not_allowed");
    assert_eq!(give(&admin, &member, "admin").await.ok(200)["role"], "admin");
    member.client.get("/api/invitations").await.ok(200);
    give(&owner, &member, "member").await.ok(200);
    member.client.get("/api/invitations").await.problem(403, "not_allowed");
}

#[tokio::test]
async fn an_organisation_keeps_an_owner() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let heir = join(&app, &owner, "member").await;
    let path = |person: &Person| format!("/api/users/{}", person.id);
    let member = json!({"role": "member"});
    owner
        .client
        .patch(&path(&owner), &member)
        .await
        .problem(409, "last_owner");
    owner
        .client
        .patch(&path(&heir), &json!({"role": "owner"}))
        .await
        .ok(200);

    // Both step down at once: one of them must stay.
    let (one, two) = (path(&owner), path(&heir));
    let answers = tokio::join!(owner.client.patch(&one, &member), heir.client.patch(&two, &member));
    let statuses = [answers.0.status.as_u16(), answers.1.status.as_u16()];
    assert!(
        statuses.contains(&200) && (statuses.contains(&409) || statuses.contains(&403)),
        "{statuses:?}"
    );
    let people = owner.client.get("/api/users").await.ok(200);
    let owners = people["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|user| user["role"] == "owner")
        .count();
    assert_eq!(owners, 1, "{people}");
}
