//! Who belongs to an organisation, and where they are signed in.

use serde_json::{Value, json};

use crate::support::{
    Client, TestApp,
    accounts::{Browser, PASSWORD, Person, fresh_email, join, register},
    eventually,
};

fn ids(list: &Value) -> Vec<&str> {
    list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn removing_somebody_ends_all_ways_in() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let admin = join(&app, &owner, "admin").await;
    let program = admin.program().await;
    let browser = Browser::sign_in(&app, &admin).await;
    let invited = json!({"email": fresh_email(), "role": "admin"});
    let invitation = admin.client.post("/api/invitations", &invited).await.ok(201);
    program.get("/v1/models").await.ok(200);
    let (elsewhere, other) = app.start_second().await;
    other.with(&admin.access_token).get("/api/users/me").await.ok(200);
    other.with(program.bearer().unwrap()).get("/v1/models").await.ok(200);

    owner.client.delete(&format!("/api/users/{}", admin.id)).await.ok(204);
    admin.client.get("/api/users/me").await.problem(401, "unauthenticated");
    program.get("/v1/models").await.openai_error(401, "invalid_api_key");
    assert_eq!(browser.get("/settings").await.status, 303);
    let refresh = json!({"refresh_token": admin.refresh_token});
    app.client
        .post("/api/auth/refresh", &refresh)
        .await
        .problem(401, "unauthenticated");
    let login = json!({"email": admin.email, "password": PASSWORD});
    app.client
        .post("/api/auth/login", &login)
        .await
        .problem(401, "invalid_credentials");
    // A link that was made beforehand would be a way back.
    let accept = json!({"token": invitation["token"], "name": "Back again", "password": PASSWORD});
    app.client
        .post("/api/invitations/accept", &accept)
        .await
        .problem(404, "invitation_not_found");
    let people = owner.client.get("/api/users").await.ok(200);
    assert_eq!(ids(&people), [&*owner.id]);
    assert_eq!(owner.client.get("/api/keys").await.ok(200)["data"], json!([]));
    // It is known elsewhere within the bounds of signing out and of revoking.
    eventually("the other instance", || async {
        let session = other.with(&admin.access_token).get("/api/users/me").await.status;
        let key = other.with(program.bearer().unwrap()).get("/v1/models").await.status;
        (session == 401 && key == 401).then_some(())
    })
    .await;
    elsewhere.stop().await;
    owner
        .client
        .delete(&format!("/api/users/{}", admin.id))
        .await
        .problem(404, "not_found");
    // The address is free.
    let again = json!({"email": admin.email, "password": PASSWORD, "name": "Grace", "organization": "Own"});
    app.client.post("/api/auth/register", &again).await.ok(201);
}

#[tokio::test]
async fn roles_decide_who_may_be_removed() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let (admin, member) = (join(&app, &owner, "admin").await, join(&app, &owner, "member").await);
    let remove = |by: &Client, whom: &Person| {
        let (client, path) = (by.clone(), format!("/api/users/{}", whom.id));
        async move { client.delete(&path).await }
    };
    remove(&owner.client, &owner).await.problem(409, "own_account");
    remove(&admin.client, &admin).await.problem(409, "own_account");
    remove(&admin.client, &owner).await.problem(403, "not_allowed");
    remove(&member.client, &admin).await.problem(403, "not_allowed");
    remove(&member.client, &owner).await.problem(403, "not_allowed");
    remove(&admin.client, &member).await.ok(204);
    let second = join(&app, &owner, "owner").await;
    remove(&second.client, &owner).await.ok(204);
    remove(&second.client, &admin).await.ok(204);
    assert_eq!(ids(&second.client.get("/api/users").await.ok(200)), [&*second.id]);
}

/// The session may remember a role that is no longer held; what counts is the role as it is when it is used.
#[tokio::test]
async fn a_role_counts_as_it_is_now() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let (admin, member) = (join(&app, &owner, "admin").await, join(&app, &owner, "member").await);
    admin.client.get("/api/users/me").await.ok(200);
    // As another instance would have done a moment ago.
    sqlx::query("UPDATE users SET role = 'member' WHERE id = $1::uuid")
        .bind(&admin.id)
        .execute(&mut app.database().await)
        .await
        .unwrap();
    let path = format!("/api/users/{}", member.id);
    admin
        .client
        .patch(&path, &json!({"role": "admin"}))
        .await
        .problem(403, "not_allowed");
    admin.client.delete(&path).await.problem(403, "not_allowed");
    // And of whom it is done to: an owner since just now.
    sqlx::query("UPDATE users SET role = 'admin' WHERE id = $1::uuid")
        .bind(&admin.id)
        .execute(&mut app.database().await)
        .await
        .unwrap();
    sqlx::query("UPDATE users SET role = 'owner' WHERE id = $1::uuid")
        .bind(&member.id)
        .execute(&mut app.database().await)
        .await
        .unwrap();
    admin
        .client
        .patch(&path, &json!({"role": "member"}))
        .await
        .problem(403, "not_allowed");
}

/// A removal and whatever makes a way in at the same time: one of the two sees the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_made_during_a_removal_outlives_it() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    for round in 0..6 {
        let member = join(&app, &owner, "admin").await;
        let path = format!("/api/users/{}", member.id);
        let login = json!({"email": member.email, "password": PASSWORD});
        let (name, invited) = (
            json!({"name": "late"}),
            json!({"email": fresh_email(), "role": "admin"}),
        );
        let making = async {
            futures_util::join!(
                member.client.post("/api/keys", &name),
                app.client.post("/api/auth/login", &login),
                member.client.post("/api/invitations", &invited),
            )
        };
        let ((key, session, _), removed) = futures_util::join!(making, owner.client.delete(&path));
        removed.ok(204);
        if key.status == 201 {
            let key = key.json()["key"].as_str().unwrap().to_owned();
            app.client
                .with(&key)
                .get("/v1/models")
                .await
                .openai_error(401, "invalid_api_key");
        }
        if session.status == 200 {
            let token = session.json()["access_token"].as_str().unwrap().to_owned();
            app.client
                .with(&token)
                .get("/api/users/me")
                .await
                .problem(401, "unauthenticated");
        }
        let left: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM api_keys WHERE user_id = $1::uuid AND revoked_at IS NULL)
                  + (SELECT count(*) FROM sessions WHERE user_id = $1::uuid AND ended_at IS NULL)
                  + (SELECT count(*) FROM invitations WHERE invited_by = $1::uuid)",
        )
        .bind(&member.id)
        .fetch_one(&mut app.database().await)
        .await
        .unwrap();
        assert_eq!(left, 0, "round {round}");
    }
}

#[tokio::test]
async fn people_are_paged_oldest_first() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let mut all = vec![owner.id.clone()];
    for _ in 0..4 {
        all.push(join(&app, &owner, "member").await.id);
    }
    let whole = owner.client.get("/api/users").await.ok(200);
    assert_eq!(
        (ids(&whole), &whole["next_cursor"]),
        (all.iter().map(String::as_str).collect(), &Value::Null)
    );
    let (mut seen, mut path) = (Vec::new(), "/api/users?limit=2".to_owned());
    loop {
        let page = owner.client.get(&path).await.ok(200);
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("/api/users?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, all);
    owner
        .client
        .get("/api/users?limit=101")
        .await
        .problem(422, "invalid_fields");
}

#[tokio::test]
async fn one_sees_where_one_is_signed_in_and_ends_it() {
    let app = TestApp::start().await;
    let (ada, eve) = (register(&app).await, register(&app).await);
    let login = json!({"email": ada.email, "password": PASSWORD});
    let second = Person::of(&app.client, &app.client.post("/api/auth/login", &login).await.ok(200));
    let browser = Browser::sign_in(&app, &ada).await;
    let listed = ada.client.get("/api/sessions").await.ok(200);
    let seen: Vec<_> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|session| (session["kind"].as_str().unwrap(), session["current"].as_bool().unwrap()))
        .collect();
    assert_eq!(seen, [("browser", false), ("program", false), ("program", true)]);
    let page = ada.client.get("/api/sessions?limit=2").await.ok(200);
    assert!(
        page["data"].as_array().unwrap().len() == 2 && page["next_cursor"].is_string(),
        "{page}"
    );

    let second_id = ids(&listed)[1];
    let path = format!("/api/sessions/{second_id}");
    eve.client.delete(&path).await.problem(404, "not_found");
    second.client.get("/api/users/me").await.ok(200);
    ada.client.delete(&path).await.ok(204);
    second.client.get("/api/users/me").await.problem(401, "unauthenticated");
    ada.client.delete(&path).await.problem(404, "not_found");

    ada.client.delete("/api/sessions").await.ok(204);
    assert_eq!(browser.get("/settings").await.status, 303);
    ada.client.get("/api/users/me").await.ok(200);
    eve.client.get("/api/users/me").await.ok(200);
    assert_eq!(
        ada.client.get("/api/sessions").await.ok(200)["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}
