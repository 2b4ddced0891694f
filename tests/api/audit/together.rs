//! A change and its event are one: where the event cannot be written, nothing is changed.

use http::Method;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::{sign_in, stored};
use crate::support::{
    TestApp,
    accounts::{PASSWORD, fresh_email, join, register, registration},
};

/// Lets the database refuse every event.
const REFUSE: &str = "
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no events today'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION refuse()";

/// All that actions change, without what is noted of use.
async fn everything(database: &mut PgConnection) -> String {
    sqlx::query_scalar(
        "SELECT concat(
             (SELECT string_agg(concat(id, name, share_answers, delete_after, delete_by), '|' ORDER BY id) FROM organizations),
             (SELECT string_agg(concat(id, name, role, email_folded, removed_at, password_hash), '|' ORDER BY id) FROM users),
             (SELECT string_agg(concat(id, role, accepted_at), '|' ORDER BY id) FROM invitations),
             (SELECT string_agg(concat(id, name, revoked_at), '|' ORDER BY id) FROM api_keys),
             (SELECT string_agg(concat(id, ended_at, confirmed_at), '|' ORDER BY id) FROM sessions),
             (SELECT string_agg(concat(digest, used_at), '|' ORDER BY digest) FROM refresh_tokens),
             (SELECT string_agg(concat(id, user_id), '|' ORDER BY id) FROM conversations))",
    )
    .fetch_one(database)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_change_is_made_whose_event_cannot_be_written() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let (member, other) = (join(&app, &owner, "member").await, join(&app, &owner, "owner").await);
    let (key, _) = member.create_key().await;
    let conversation = member.conversation().await;
    let second = sign_in(&app, &member, PASSWORD).await.ok(200);
    let wanted = json!({"email": fresh_email(), "role": "member"});
    let invitation = owner.client.post("/api/invitations", &wanted).await.ok(201);
    let sessions = member.client.get("/api/sessions").await.ok(200);
    let is_other = |session: &&Value| session["current"] == false;
    let session = sessions["data"].as_array().unwrap().iter().find(is_other).unwrap()["id"]
        .as_str()
        .unwrap();
    let password = json!({"current_password": PASSWORD});
    other
        .client
        .delete_with("/api/organization/deletion", &password)
        .await
        .ok(202);

    let mut database = app.database().await;
    sqlx::raw_sql(REFUSE).execute(&mut database).await.unwrap();
    let (before, events) = (everything(&mut database).await, stored(&app, "true").await);
    let login = json!({"email": member.email, "password": PASSWORD});
    let accept = json!({"token": invitation["token"], "name": "Grace", "password": PASSWORD});
    let change = json!({"password": "lantern quiet meadow violin", "current_password": PASSWORD});
    let attempts = [
        (
            &app.client,
            Method::POST,
            "/api/auth/register".to_owned(),
            registration(&fresh_email()),
        ),
        (&app.client, Method::POST, "/api/auth/login".to_owned(), login),
        (&app.client, Method::POST, "/api/invitations/accept".to_owned(), accept),
        (
            &owner.client,
            Method::PATCH,
            format!("/api/users/{}", member.id),
            json!({"role": "admin"}),
        ),
        (
            &owner.client,
            Method::PATCH,
            format!("/api/users/{}", other.id),
            json!({"role": "member"}),
        ),
        (
            &owner.client,
            Method::DELETE,
            format!("/api/users/{}", member.id),
            json!({}),
        ),
        (
            &owner.client,
            Method::PATCH,
            "/api/organization".to_owned(),
            json!({"share_answers": true}),
        ),
        (
            &owner.client,
            Method::DELETE,
            "/api/organization/deletion".to_owned(),
            password.clone(),
        ),
        (
            &owner.client,
            Method::POST,
            "/api/organization/deletion".to_owned(),
            json!({}),
        ),
        (
            &owner.client,
            Method::POST,
            "/api/invitations".to_owned(),
            wanted.clone(),
        ),
        (
            &owner.client,
            Method::DELETE,
            format!("/api/invitations/{}", invitation["id"].as_str().unwrap()),
            json!({}),
        ),
        (&owner.client, Method::DELETE, format!("/api/keys/{key}"), json!({})),
        (
            &member.client,
            Method::POST,
            "/api/keys".to_owned(),
            json!({"name": "another"}),
        ),
        (&member.client, Method::PATCH, "/api/users/me".to_owned(), change),
        (
            &member.client,
            Method::POST,
            "/api/auth/confirm".to_owned(),
            json!({"password": PASSWORD}),
        ),
        (
            &member.client,
            Method::DELETE,
            format!("/api/conversations/{conversation}"),
            json!({}),
        ),
        (
            &member.client,
            Method::DELETE,
            format!("/api/sessions/{session}"),
            json!({}),
        ),
        (&member.client, Method::DELETE, "/api/sessions".to_owned(), json!({})),
        (&member.client, Method::DELETE, "/api/users/me".to_owned(), password),
        (&member.client, Method::POST, "/api/auth/logout".to_owned(), json!({})),
    ];
    for (client, method, path, body) in attempts {
        let answer = crate::support::Answer::of(client.request(method.clone(), &path).json(&body)).await;
        assert_eq!(answer.status, 500, "{method} {path}: {}", answer.text());
        assert!(!answer.text().contains("no events today"), "{}", answer.text());
        assert_eq!(everything(&mut database).await, before, "{method} {path}");
    }
    assert_eq!(stored(&app, "true").await, events);

    // Whoever is refused anyway is refused as ever, though it cannot be told.
    sign_in(&app, &member, "not the password of anybody")
        .await
        .problem(401, "invalid_credentials");
    let wrong = json!({"password": "not the password of anybody"});
    member
        .client
        .post("/api/auth/confirm", &wrong)
        .await
        .problem(403, "wrong_password");

    sqlx::raw_sql("DROP TRIGGER refuse ON audit_events")
        .execute(&mut database)
        .await
        .unwrap();
    let refresh = json!({"refresh_token": second["refresh_token"]});
    app.client.post("/api/auth/refresh", &refresh).await.ok(200);
    member.client.post("/api/auth/logout", &json!({})).await.ok(204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stolen_refresh_token_ends_its_session_together_with_the_event_or_not_at_all() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let refresh = json!({"refresh_token": owner.refresh_token});
    app.client.post("/api/auth/refresh", &refresh).await.ok(200);
    let mut database = app.database().await;
    sqlx::raw_sql("UPDATE refresh_tokens SET used_at = used_at - interval '1 minute'")
        .execute(&mut database)
        .await
        .unwrap();
    sqlx::raw_sql(REFUSE).execute(&mut database).await.unwrap();
    assert_eq!(app.client.post("/api/auth/refresh", &refresh).await.status, 500);
    owner.client.get("/api/users/me").await.ok(200);
    sqlx::raw_sql("DROP TRIGGER refuse ON audit_events")
        .execute(&mut database)
        .await
        .unwrap();
    app.client
        .post("/api/auth/refresh", &refresh)
        .await
        .problem(401, "unauthenticated");
    let found =
        "action = 'session.ended' AND actor_kind = 'system' AND address IS NOT NULL AND target_kind = 'session'";
    assert_eq!(stored(&app, found).await, 1);
}
