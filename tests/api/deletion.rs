//! What is left of people, conversations and organisations once they are gone, and what they can take along.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Client, Reply, TestApp,
    accounts::{PASSWORD, Person, join, register},
    eventually,
};

const MARK: &str = "MARKED-words of a person who leaves";

async fn swift() -> TestApp {
    TestApp::start_with(|config| {
        config.retention.interval = Duration::from_millis(50);
        config.retention.organization_grace = Duration::from_hours(1);
    })
    .await
}

/// A conversation with one question, and its id.
async fn converse(app: &TestApp, person: &Person) -> String {
    app.upstream.reply(Reply::events().text("An answer").done());
    let made = person
        .client
        .post("/api/conversations", &json!({"model": "maple-chat", "title": MARK}))
        .await
        .ok(201);
    let id = made["id"].as_str().unwrap().to_owned();
    let path = format!("/api/conversations/{id}/messages");
    assert_eq!(person.client.post(&path, &json!({"content": MARK})).await.status, 200);
    id
}

/// How many rows of all that has text hold these words.
async fn mentions(app: &TestApp, words: &str) -> i64 {
    let mut database = app.database().await;
    sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM users t WHERE t::text LIKE $1) + (SELECT count(*) FROM invitations t WHERE t::text LIKE $1)
              + (SELECT count(*) FROM conversations t WHERE t::text LIKE $1) + (SELECT count(*) FROM messages t WHERE t::text LIKE $1)
              + (SELECT count(*) FROM api_keys t WHERE t::text LIKE $1)",
    )
    .bind(format!("%{words}%"))
    .fetch_one(&mut database)
    .await
    .unwrap()
}

async fn titles(client: &Client) -> Vec<Value> {
    let list = client.get("/api/conversations").await.ok(200);
    list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["id"].clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_whoever_is_removed() {
    let app = swift().await;
    let owner = register(&app).await;
    let member = join(&app, &owner, "member").await;
    member.client.post("/api/keys", &json!({"name": MARK})).await.ok(201);
    converse(&app, &member).await;
    assert!(mentions(&app, MARK).await >= 3 && mentions(&app, &member.email).await >= 1);

    owner.client.delete(&format!("/api/users/{}", member.id)).await.ok(204);
    eventually("everything to be erased", || async {
        let left = mentions(&app, MARK).await + mentions(&app, &member.email).await;
        (left == 0).then_some(())
    })
    .await;
    // What was used stays, under an id that says nothing.
    let used = owner.client.get("/api/usage").await.ok(200);
    assert_eq!(used["totals"]["requests"], 1, "{used}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conversations_are_handed_over_where_somebody_decides_so() {
    let app = swift().await;
    let owner = register(&app).await;
    let member = join(&app, &owner, "member").await;
    let stranger = register(&app).await;
    let id = converse(&app, &member).await;
    assert!(titles(&owner.client).await.is_empty());

    let removal = |to: &str| format!("/api/users/{}?conversations_to={to}", member.id);
    for nobody in [&stranger.id, &member.id] {
        owner.client.delete(&removal(nobody)).await.problem(422, "no_heir");
    }
    owner.client.delete(&removal(&owner.id)).await.ok(204);
    assert_eq!(titles(&owner.client).await, [json!(id)]);
    assert_eq!(mentions(&app, &member.email).await, 0);
    let read = owner.client.get(&format!("/api/conversations/{id}")).await.ok(200);
    assert_eq!(read["messages"][0]["content"], MARK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_erase_their_own_account_and_owners_do_not_leave_others_alone() {
    let app = swift().await;
    let owner = register(&app).await;
    let member = join(&app, &owner, "member").await;
    converse(&app, &member).await;
    let wrong = json!({"current_password": "not the password of anybody"});
    let right = json!({"current_password": PASSWORD});
    member
        .client
        .delete_with("/api/users/me", &wrong)
        .await
        .problem(403, "wrong_password");
    owner
        .client
        .delete_with("/api/users/me", &right)
        .await
        .problem(409, "last_owner");
    member.client.delete_with("/api/users/me", &right).await.ok(204);
    member.client.get("/api/users/me").await.problem(401, "unauthenticated");
    let login = json!({"email": member.email, "password": PASSWORD});
    app.client
        .post("/api/auth/login", &login)
        .await
        .problem(401, "invalid_credentials");
    eventually("everything to be erased", || async {
        (mentions(&app, MARK).await + mentions(&app, &member.email).await == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_has_all_of_ones_own_and_nothing_of_others() {
    let app = swift().await;
    let owner = register(&app).await;
    let member = join(&app, &owner, "member").await;
    let theirs = converse(&app, &owner).await;
    let mut own = Vec::new();
    // More than are looked up at once.
    for _ in 0..55 {
        let made = member.client.post("/api/conversations", &json!({})).await.ok(201);
        own.push(made["id"].as_str().unwrap().to_owned());
    }
    own.push(converse(&app, &member).await);
    let answer = member.client.get("/api/users/me/export").await;
    assert!(answer.header("content-disposition").starts_with("attachment"));
    let export = answer.ok(200);
    assert_eq!(export["user"]["email"], member.email.as_str());
    let mut exported: Vec<String> = export["conversations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|conversation| conversation["id"].as_str().unwrap().to_owned())
        .collect();
    assert!(!exported.contains(&theirs));
    exported.sort();
    own.sort();
    assert_eq!(exported, own);
    let asked = export["conversations"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["messages"][0]["content"] == MARK);
    assert_eq!(asked.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organization_ends_after_its_grace_unless_that_is_taken_back() {
    let app = TestApp::start_with(|config| {
        config.retention.interval = Duration::from_millis(50);
        config.retention.organization_grace = Duration::from_millis(1_500);
    })
    .await;
    let (owner, other) = (register(&app).await, register(&app).await);
    let admin = join(&app, &owner, "admin").await;
    converse(&app, &admin).await;
    let right = json!({"current_password": PASSWORD});
    admin
        .client
        .delete_with("/api/organization/deletion", &right)
        .await
        .problem(403, "not_allowed");
    let told = owner
        .client
        .delete_with("/api/organization/deletion", &right)
        .await
        .ok(202);
    assert!(told["delete_after"].is_string(), "{told}");
    owner
        .client
        .post("/api/organization/deletion", &json!({}))
        .await
        .ok(204);
    tokio::time::sleep(Duration::from_secs(2)).await;
    owner.client.get("/api/users/me").await.ok(200);

    owner
        .client
        .delete_with("/api/organization/deletion", &right)
        .await
        .ok(202);
    // Until then everything is as it was.
    admin.client.get("/api/users/me").await.ok(200);
    eventually("the organisation to be gone", || async {
        let mut database = app.database().await;
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM organizations")
            .fetch_one(&mut database)
            .await
            .unwrap();
        (left == 1).then_some(())
    })
    .await;
    owner.client.get("/api/users/me").await.problem(401, "unauthenticated");
    assert_eq!(mentions(&app, MARK).await, 0);
    other.client.get("/api/users/me").await.ok(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_no_longer_goes_and_the_rest_stays() {
    let app = TestApp::start_with(|config| {
        config.retention.interval = Duration::from_millis(50);
        config.retention.conversations = Some(Duration::from_hours(24 * 30));
    })
    .await;
    let owner = register(&app).await;
    let (old, new) = (converse(&app, &owner).await, converse(&app, &owner).await);
    let key = owner.client.post("/api/keys", &json!({"name": "old"})).await.ok(201);
    owner.client.post("/api/keys", &json!({"name": "new"})).await.ok(201);
    let mut database = app.database().await;
    eventually("both calls to be recorded", || async {
        let mut database = app.database().await;
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM usage_records")
            .fetch_one(&mut database)
            .await
            .unwrap();
        (rows == 2).then_some(())
    })
    .await;
    for (statement, id) in [
        (
            "UPDATE conversations SET updated_at = now() - interval '31 days' WHERE id = $1::uuid",
            &*old,
        ),
        (
            "UPDATE messages SET replaced_at = now() - interval '8 days' WHERE author = 'assistant' AND conversation_id = $1::uuid",
            &*new,
        ),
        (
            "UPDATE api_keys SET revoked_at = now() - interval '401 days' WHERE id = $1::uuid",
            key["id"].as_str().unwrap(),
        ),
        (
            "UPDATE usage_records SET created_at = now() - interval '401 days' WHERE id = (SELECT min(id::text)::uuid FROM usage_records WHERE $1 <> '')",
            "x",
        ),
    ] {
        sqlx::query(statement).bind(id).execute(&mut database).await.unwrap();
    }
    let count = async |what: &'static str| {
        let mut database = app.database().await;
        sqlx::query_scalar::<_, i64>(what)
            .fetch_one(&mut database)
            .await
            .unwrap()
    };
    eventually("what is over to go", || async {
        let left = (
            count("SELECT count(*) FROM conversations").await,
            count("SELECT count(*) FROM messages").await,
            count("SELECT count(*) FROM api_keys").await,
            count("SELECT count(*) FROM usage_records").await,
        );
        (left == (1, 1, 1, 1)).then_some(())
    })
    .await;
    assert_eq!(titles(&owner.client).await.len(), 1);
    assert_eq!(
        owner.client.get("/api/usage").await.ok(200)["totals"]["requests"],
        2,
        "sums stay"
    );
}
