//! What is left of people, conversations and organisations once they are gone, and what they can take along.

mod confirmed;
mod sweeping;

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::support::{
    Client, Reply, TestApp,
    accounts::{PASSWORD, Person, join, register},
    database::TestDatabase,
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
    let (admin, colleague) = (join(&app, &owner, "admin").await, join(&app, &owner, "member").await);
    let member = join(&app, &owner, "member").await;
    let stranger = register(&app).await;
    let id = converse(&app, &member).await;
    assert!(titles(&owner.client).await.is_empty());

    let removal = |to: &str| format!("/api/users/{}?conversations_to={to}", member.id);
    // Nobody makes oneself the reader of what somebody else asked, and an admin nobody.
    for nobody in [&stranger.id, &member.id, &owner.id] {
        owner.client.delete(&removal(nobody)).await.problem(422, "no_heir");
    }
    admin.client.delete(&removal(&admin.id)).await.problem(422, "no_heir");
    admin
        .client
        .delete(&removal(&colleague.id))
        .await
        .problem(403, "not_allowed");
    member.client.get("/api/users/me").await.ok(200);
    owner.client.delete(&removal(&colleague.id)).await.ok(204);
    assert_eq!(titles(&colleague.client).await, [json!(id)]);
    assert!(titles(&owner.client).await.is_empty());
    assert_eq!(mentions(&app, &member.email).await, 0);
    let read = colleague.client.get(&format!("/api/conversations/{id}")).await.ok(200);
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

/// Questions by SQL: a conversation that would take long to have.
async fn fill(app: &TestApp, person: &Person, conversation: &str, messages: i32, letters: i32) {
    let mut database = app.database().await;
    sqlx::query(
        "INSERT INTO messages (id, organization_id, conversation_id, author, content, status, created_at, updated_at)
         SELECT gen_random_uuid(), $1::uuid, $2::uuid, 'user', n || repeat('x', $4), 'complete', now() + n / 4 * interval '1 second', now()
         FROM generate_series(1, $3) n",
    )
    .bind(&person.organization)
    .bind(conversation)
    .bind(messages)
    .bind(letters)
    .execute(&mut database)
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_of_many_parts_is_exported_whole_and_in_order() {
    let app = swift().await;
    let owner = register(&app).await;
    let ids = [owner.conversation().await, owner.conversation().await];
    fill(&app, &owner, &ids[0], 2_500, 1).await;
    let export = owner.client.get("/api/users/me/export").await.ok(200);
    let conversations = export["conversations"].as_array().unwrap();
    assert_eq!(conversations.len(), 2);
    let filled = conversations.iter().find(|one| one["id"] == ids[0].as_str()).unwrap();
    let moments: Vec<_> = filled["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| (message["created_at"].as_str().unwrap(), message["id"].as_str().unwrap()))
        .collect();
    assert_eq!(moments.len(), 2_500);
    assert!(moments.is_sorted());
    let others = conversations.iter().find(|one| one["id"] == ids[1].as_str()).unwrap();
    assert_eq!(others["messages"], json!([]));
}

/// Somebody who finds out that a session was stolen ends it: what it is taking along ends, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_ends_with_its_session() {
    let app = swift().await;
    let owner = register(&app).await;
    let id = owner.conversation().await;
    // Far more than sockets hold.
    fill(&app, &owner, &id, 60, 1_000_000).await;
    let request = owner.client.request(http::Method::GET, "/api/users/me/export");
    let mut response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.chunk().await.unwrap().is_some());
    owner.client.post("/api/auth/logout", &json!({})).await.ok(204);
    let mut rest = 0;
    let ended = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => rest += chunk.len(),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    assert!(ended.is_err(), "the export came to its end");
    assert!(rest < 50_000_000, "{rest} bytes after the session");
}

/// An owner's word is an owner's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_ends_with_the_power_of_whoever_asked_for_it() {
    let app = swift().await;
    let owner = register(&app).await;
    let right = json!({"current_password": PASSWORD});
    let deletion = async || owner.client.get("/api/organization").await.ok(200)["delete_after"].clone();
    for way in ["demoted", "removed", "left"] {
        let other = join(&app, &owner, "owner").await;
        let member = join(&app, &owner, "member").await;
        let path = format!("/api/users/{}", other.id);
        other
            .client
            .delete_with("/api/organization/deletion", &right)
            .await
            .ok(202);
        assert!(deletion().await.is_string());
        // Of somebody else that is no matter.
        owner.client.delete(&format!("/api/users/{}", member.id)).await.ok(204);
        assert!(deletion().await.is_string(), "{way}");
        match way {
            "demoted" => {
                owner.client.patch(&path, &json!({"role": "admin"})).await.ok(200);
            }
            "removed" => {
                owner.client.delete(&path).await.ok(204);
            }
            _ => {
                other.client.delete_with("/api/users/me", &right).await.ok(204);
            }
        }
        assert!(deletion().await.is_null(), "{way}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organization_that_cannot_be_deleted_holds_up_no_other() {
    let app = TestApp::start_with(|config| {
        config.retention.interval = Duration::from_millis(50);
        config.retention.organization_grace = Duration::from_secs(1);
    })
    .await;
    let (stuck, other) = (register(&app).await, register(&app).await);
    let mut database = app.database().await;
    let refusal = format!(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'stuck'; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE OF removed_at ON users FOR EACH ROW WHEN (OLD.organization_id = '{}') EXECUTE FUNCTION refuse()",
        stuck.organization
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(refusal))
        .execute(&mut database)
        .await
        .unwrap();
    let right = json!({"current_password": PASSWORD});
    for person in [&stuck, &other] {
        person
            .client
            .delete_with("/api/organization/deletion", &right)
            .await
            .ok(202);
    }
    eventually("the other organisation to be gone", || async {
        let mut database = app.database().await;
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM organizations")
            .fetch_one(&mut database)
            .await
            .unwrap();
        (left == 1).then_some(())
    })
    .await;
    stuck.client.get("/api/users/me").await.ok(200);
}

/// An account that had to give up its address has it all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_whoever_gave_up_an_address_before() {
    let app = swift().await;
    let first = register(&app).await;
    let second = join(&app, &first, "owner").await;
    let inviter = register(&app).await;
    let person = json!({"email": first.email, "role": "member"});
    let invitation = inviter.client.post("/api/invitations", &person).await.ok(201);
    let accept = json!({"token": invitation["token"], "name": "Ada", "password": "another battery staple"});
    app.client.post("/api/invitations/accept", &accept).await.ok(201);
    let row = "SELECT t::text FROM users t WHERE id = $1::uuid";
    let mut database = app.database().await;
    let before: String = sqlx::query_scalar(row)
        .bind(&first.id)
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert!(before.contains(&*first.email), "{before}");
    second.client.delete(&format!("/api/users/{}", first.id)).await.ok(204);
    let after: String = sqlx::query_scalar(row)
        .bind(&first.id)
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert!(!after.contains(&*first.email), "{after}");
}

#[tokio::test]
async fn conversations_that_are_kept_no_longer_are_found_by_their_age() {
    let database = TestDatabase::create().await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    sqlx::query("SET enable_seqscan = off")
        .execute(&mut connection)
        .await
        .unwrap();
    let plan: Vec<String> = sqlx::query_scalar(
        "EXPLAIN SELECT id FROM conversations WHERE updated_at < now() - interval '1 year' LIMIT 200",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert!(plan.concat().contains("conversations_by_age"), "{plan:#?}");
}
