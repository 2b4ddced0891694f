//! What somebody's power was used for ends with the power.

use serde_json::{Value, json};

use crate::support::{
    Answer, Client, TestApp,
    accounts::{PASSWORD, Person, fresh_email, join, register},
    locks::Uncommitted,
};

async fn invite(by: &Person, role: &str) -> Value {
    let body = json!({"email": fresh_email(), "role": role});
    by.client.post("/api/invitations", &body).await.ok(201)
}

async fn accept(app: &TestApp, invitation: &Value) -> Answer {
    let body = json!({"token": invitation["token"], "name": "Late Comer", "password": PASSWORD});
    app.client.post("/api/invitations/accept", &body).await
}

async fn set_role(by: &Person, whom: &Person, role: &str) {
    let path = format!("/api/users/{}", whom.id);
    by.client.patch(&path, &json!({"role": role})).await.ok(200);
}

/// As another instance would have done a moment ago: no cache of this one knows.
async fn demote_elsewhere(app: &TestApp, whom: &Person, role: &str) {
    sqlx::query("UPDATE users SET role = $2 WHERE id = $1::uuid")
        .bind(&whom.id)
        .bind(role)
        .execute(&mut app.database().await)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_demotion_withdraws_what_the_new_role_could_not_have_made() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let second = join(&app, &owner, "owner").await;
    let (to_owner, to_admin, to_member) = (
        invite(&second, "owner").await,
        invite(&second, "admin").await,
        invite(&second, "member").await,
    );
    set_role(&owner, &second, "admin").await;
    accept(&app, &to_owner).await.problem(404, "invitation_not_found");
    accept(&app, &to_admin).await.ok(201);
    set_role(&owner, &second, "member").await;
    accept(&app, &to_member).await.problem(404, "invitation_not_found");
    assert_eq!(owner.client.get("/api/invitations").await.ok(200)["data"], json!([]));
    // It does not come back with the role.
    set_role(&owner, &second, "owner").await;
    accept(&app, &to_member).await.problem(404, "invitation_not_found");
}

/// A release that does not withdraw invitations may have demoted their maker.
#[tokio::test]
async fn an_invitation_is_worth_what_its_maker_may_give_when_it_is_accepted() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let admin = join(&app, &owner, "admin").await;
    let invitation = invite(&admin, "admin").await;
    demote_elsewhere(&app, &admin, "member").await;
    let page = format!("/invite/{}", invitation["token"].as_str().unwrap());
    assert_eq!(app.client.get(&page).await.status, 404);
    accept(&app, &invitation).await.problem(404, "invitation_not_found");
    demote_elsewhere(&app, &admin, "admin").await;
    accept(&app, &invitation).await.ok(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demotion_and_an_acceptance_at_once_leave_no_higher_role() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    for _ in 0..6 {
        let admin = join(&app, &owner, "admin").await;
        let invitation = invite(&admin, "admin").await;
        let body = json!({"email": fresh_email(), "role": "admin"});
        let ((), accepted, made) = tokio::join!(
            set_role(&owner, &admin, "member"),
            accept(&app, &invitation),
            admin.client.post("/api/invitations", &body)
        );
        assert!([201, 404].contains(&accepted.status.as_u16()), "{}", accepted.text());
        assert!([201, 403].contains(&made.status.as_u16()), "{}", made.text());
        if made.status == 201 {
            accept(&app, &made.json()).await.problem(404, "invitation_not_found");
        }
    }
}

/// Each in slow motion: the role was looked at, and goes before what it was looked at for is done. Nothing is withdrawn, as by a
/// release that does not do so.
#[tokio::test]
async fn a_demotion_that_comes_in_between_is_seen() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let admin = join(&app, &owner, "admin").await;
    let invitation = invite(&admin, "admin").await;
    let demotion = |role: &str| {
        Uncommitted::change(
            &app,
            format!("UPDATE users SET role = '{role}' WHERE id = '{}'", admin.id),
        )
    };

    let uncommitted = demotion("member").await;
    let (accepted, ()) = tokio::join!(accept(&app, &invitation), uncommitted.commit_under(&app));
    accepted.problem(404, "invitation_not_found");

    demotion("admin").await.commit().await;
    let uncommitted = demotion("member").await;
    let body = json!({"email": fresh_email(), "role": "admin"});
    let (made, ()) = tokio::join!(
        admin.client.post("/api/invitations", &body),
        uncommitted.commit_under(&app)
    );
    made.problem(403, "not_allowed");
}

/// The session remembers a role that is no longer held; whatever bears rights asks the database.
#[tokio::test]
async fn a_remembered_role_gives_no_rights() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let admin = join(&app, &owner, "admin").await;
    let (kept, _) = owner.create_key().await;
    let invitation = invite(&owner, "member").await;
    admin.client.get("/api/users/me").await.ok(200);
    demote_elsewhere(&app, &admin, "member").await;

    let body = json!({"email": fresh_email(), "role": "member"});
    let client = &admin.client;
    client.post("/api/invitations", &body).await.problem(403, "not_allowed");
    client.get("/api/invitations").await.problem(403, "not_allowed");
    let path = format!("/api/invitations/{}", invitation["id"].as_str().unwrap());
    client.delete(&path).await.problem(403, "not_allowed");
    assert_eq!(client.get("/api/keys").await.ok(200)["data"], json!([]));
    client
        .delete(&format!("/api/keys/{kept}"))
        .await
        .problem(404, "not_found");
    client
        .post("/api/cache/purge", &json!({"class": "answer"}))
        .await
        .problem(403, "not_allowed");
    client
        .patch(&format!("/api/users/{}", owner.id), &json!({"role": "member"}))
        .await
        .problem(403, "not_allowed");
    assert_eq!(owner.client.get("/api/keys").await.ok(200)["data"][0]["id"], kept);
}

async fn page(client: &Client, path: &str) -> (Vec<String>, Option<String>) {
    let page = client.get(path).await.ok(200);
    let ids = page["data"].as_array().unwrap().iter();
    (
        ids.map(|row| row["id"].as_str().unwrap().to_owned()).collect(),
        page["next_cursor"].as_str().map(str::to_owned),
    )
}

/// One that cannot be seen cannot be withdrawn.
#[tokio::test]
async fn every_open_invitation_can_be_seen() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(invite(&owner, "member").await["id"].as_str().unwrap().to_owned());
    }
    made.reverse();
    let (mut seen, mut path) = (Vec::new(), "/api/invitations?limit=2".to_owned());
    loop {
        let (ids, next) = page(&owner.client, &path).await;
        seen.extend(ids);
        let Some(cursor) = next else { break };
        path = format!("/api/invitations?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, made);
    assert_eq!(page(&owner.client, "/api/invitations").await, (made, None));
}
