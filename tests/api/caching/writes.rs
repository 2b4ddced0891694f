//! What a write makes wrong is forgotten, whatever becomes of whoever asked for it: the client leaves, or the process dies.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{WITH_REDIS, WITHOUT_REDIS, me, start};
use crate::support::{
    Answer, Client, TestApp,
    accounts::{Person, join, register},
    eventually,
    redis::Redis,
};

/// Only administrators may see the invitations.
async fn as_administrator(client: &Client, person: &Person) -> u16 {
    let asking = client
        .request(Method::GET, "/api/invitations")
        .bearer_auth(&person.access_token);
    Answer::of(asking).await.status.as_u16()
}

async fn demoted_within(bound: Duration, client: &Client, person: &Person) {
    let demoted = Instant::now();
    while as_administrator(client, person).await != 403 {
        assert!(
            demoted.elapsed() < bound,
            "still an administrator after {:?}",
            demoted.elapsed()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// An owner and an administrator, whom these instances know as that.
async fn people(app: &TestApp, clients: &[&Client]) -> (Person, Person) {
    let ada = register(app).await;
    let grace = join(app, &ada, "admin").await;
    for client in clients {
        assert_eq!(as_administrator(client, &grace).await, 200);
        assert_eq!(me(client, &grace).await.ok(200)["role"], "admin");
    }
    (ada, grace)
}

fn role_of(person: &Person) -> String {
    format!("/api/users/{}", person.id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demotion_is_at_once_here_and_within_a_second_elsewhere() {
    let redis = Redis::start().await;
    let app = start(&redis).await;
    let (_second, other) = app.start_second().await;
    let (ada, grace) = people(&app, &[&app.client, &other]).await;
    ada.client
        .patch(&role_of(&grace), &json!({"role": "member"}))
        .await
        .ok(200);
    assert_eq!(as_administrator(&app.client, &grace).await, 403);
    assert_eq!(me(&app.client, &grace).await.ok(200)["role"], "member");
    demoted_within(WITH_REDIS, &other, &grace).await;
    // Whoever starts later finds nothing older in Redis.
    let (_third, newcomer) = app.start_second().await;
    assert_eq!(as_administrator(&newcomer, &grace).await, 403);
    assert_eq!(me(&newcomer, &grace).await.ok(200)["role"], "member");
}

/// Keeps others from writing to the table until it is unlocked.
async fn lock(app: &TestApp, table: &str) -> PgConnection {
    let mut connection = app.database().await;
    let statement = format!("BEGIN; LOCK TABLE {table} IN SHARE MODE");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
        .execute(&mut connection)
        .await
        .unwrap();
    connection
}

/// Sends a write and hangs up while it, and not some other write, waits for the lock, which is then taken away.
async fn leave_while_locked(app: &TestApp, mut lock: PgConnection, request: reqwest::RequestBuilder, write: &str) {
    let watching = async {
        let mut watching = app.database().await;
        let mut waiting = 0_i64;
        while waiting == 0 {
            waiting = sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock' AND starts_with(query, $1)",
            )
            .bind(write)
            .fetch_one(&mut watching)
            .await
            .unwrap();
        }
    };
    tokio::select! {
        answer = request.send() => panic!("answered {answer:?} in spite of the lock"),
        () = watching => {}
    }
    // The service notices that nobody waits any more.
    tokio::time::sleep(Duration::from_millis(200)).await;
    sqlx::raw_sql("COMMIT").execute(&mut lock).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_who_leaves_cuts_off_neither_the_write_nor_what_it_makes_forgotten() {
    let redis = Redis::start().await;
    let app = start(&redis).await;
    let (_second, other) = app.start_second().await;
    let (ada, grace) = people(&app, &[&app.client, &other]).await;
    let listed = async |client: &Client| {
        let list = client
            .request(Method::GET, "/api/conversations")
            .bearer_auth(&ada.access_token);
        Answer::of(list).await.ok(200)["data"].as_array().unwrap().len()
    };
    assert_eq!((listed(&app.client).await, listed(&other).await), (0, 0));

    let locked = lock(&app, "conversations").await;
    let beginning = ada.client.request(Method::POST, "/api/conversations").json(&json!({}));
    leave_while_locked(&app, locked, beginning, "INSERT INTO conversations").await;
    for client in [&app.client, &other] {
        eventually("the conversation in the list", || async {
            (listed(client).await == 1).then_some(())
        })
        .await;
    }

    let locked = lock(&app, "users").await;
    let demoting = ada.client.request(Method::PATCH, &role_of(&grace));
    let demoting = demoting.json(&json!({"role": "member"}));
    leave_while_locked(&app, locked, demoting, "UPDATE users SET role").await;
    demoted_within(WITH_REDIS, &app.client, &grace).await;
    demoted_within(WITH_REDIS, &other, &grace).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_one_who_leaves_while_redis_hangs() {
    let redis = Redis::start().await;
    let app = start(&redis).await;
    let (ada, grace) = people(&app, &[&app.client]).await;
    let mut connection = app.database().await;
    let id: Uuid = grace.id.parse().unwrap();
    redis.hang();
    let demoting = ada.client.request(Method::PATCH, &role_of(&grace));
    let committed = async {
        let mut role = String::new();
        while role != "member" {
            role = sqlx::query_scalar("SELECT role FROM users WHERE id = $1")
                .bind(id)
                .fetch_one(&mut connection)
                .await
                .unwrap();
        }
    };
    tokio::select! {
        _ = demoting.json(&json!({"role": "member"})).send() => {}
        () = committed => {}
    }
    // Too soon for the look at the database, or for what is believed without Redis to end.
    demoted_within(Duration::from_millis(500), &app.client, &grace).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_wrote_that_died_before_it_could_tell_is_found_in_the_database() {
    let redis = Redis::start().await;
    let app = start(&redis).await;
    let (_second, other) = app.start_second().await;
    let (_, grace) = people(&app, &[&app.client, &other]).await;
    let (_, admiral) = people(&app, &[&app.client, &other]).await;
    let demote = async |person: &Person, minutes: i32| {
        let statement =
            "UPDATE users SET role = 'member', created_at = created_at - interval '1 hour', updated_at = now() - make_interval(mins => $2)
             WHERE id = $1";
        sqlx::query(statement)
            .bind(person.id.parse::<Uuid>().unwrap())
            .bind(minutes)
            .execute(&mut app.database().await)
            .await
            .unwrap();
    };
    demote(&grace, 0).await;
    for client in [&app.client, &other] {
        demoted_within(WITHOUT_REDIS, client, &grace).await;
        // Told apart from the session, and a moment later.
        eventually("the profile", || async {
            (me(client, &grace).await.ok(200)["role"] == "member").then_some(())
        })
        .await;
    }
    // Longer ago than running instances look back; one that starts looks back as far as Redis may remember.
    demote(&admiral, 10).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    // What is shown is remembered still; what the role allows is asked of the database.
    assert_eq!(me(&other, &admiral).await.ok(200)["role"], "admin", "still remembered");
    assert_eq!(as_administrator(&other, &admiral).await, 403);
    let (_third, newcomer) = app.start_second().await;
    for client in [&newcomer, &app.client, &other] {
        eventually("the profile", || async {
            (me(client, &admiral).await.ok(200)["role"] == "member").then_some(())
        })
        .await;
    }
}
