//! The process as a whole: its log, its signals, and what never reaches the one or survives the other.

mod environments;
mod log;
mod provider;
mod redis_tls;
mod secrets;

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Client, database::TestDatabase, postgres::Postgres, process::Process, redis::Redis};

const OPS_TOKEN: &str = "MARKED-operations-token-0123456789abcdef";
const SIGNING_KEY: &str = "MARKED-signing-key-0123456789abcdefghijk";

fn staging(database: &str) -> Vec<(&'static str, String)> {
    vec![
        ("MAPLE_ENV", "staging".to_owned()),
        ("DATABASE_URL", database.to_owned()),
        ("MAPLE__SERVER__HOST", "127.0.0.1".to_owned()),
        ("MAPLE__SERVER__PUBLIC_URL", "https://maple.test".to_owned()),
        ("MAPLE__SERVER__OPS_TOKEN", OPS_TOKEN.to_owned()),
        ("MAPLE__SERVER__DRAIN_DELAY", "0s".to_owned()),
        ("MAPLE__AUTH__SIGNING_KEYS__K", SIGNING_KEY.to_owned()),
        ("MAPLE__AUTH__ACTIVE_KEY", "k".to_owned()),
        ("MAPLE__AUTH__OPEN_REGISTRATION", "true".to_owned()),
        ("MAPLE__LOG__FILE", String::new()),
    ]
}

fn start(variables: &[(&'static str, String)]) -> Process {
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Process::start(&variables)
}

fn development(database: &str) -> Vec<(&'static str, String)> {
    vec![
        ("DATABASE_URL", database.to_owned()),
        ("MAPLE__SERVER__OPS_TOKEN", OPS_TOKEN.to_owned()),
        ("MAPLE__LOG__LEVEL", "trace".to_owned()),
        ("MAPLE__AUTH__SIGNING_KEYS__K", SIGNING_KEY.to_owned()),
        ("MAPLE__AUTH__ACTIVE_KEY", "k".to_owned()),
    ]
}

async fn register(client: &Client) -> (String, String) {
    let body = json!({"email": "ada@maple.test", "password": "MARKED-password-of-ada", "name": "Ada", "organization": "Maple"});
    let made = client.post("/api/auth/register", &body).await.ok(201);
    let token = |name: &str| made[name].as_str().unwrap().to_owned();
    (token("access_token"), token("refresh_token"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_it_at_once() {
    let database = TestDatabase::create().await;
    let mut variables = staging(&database.url);
    variables.push(("MAPLE__SERVER__DRAIN_DELAY", "30s".to_owned()));
    let mut process = start(&variables);
    let (client, _) = process.ready().await;
    process.signal("TERM");
    process
        .line("stopping: readiness says no, connections are still accepted")
        .await;
    assert_eq!(client.get("/api/ready").await.status, 503);
    client.get("/api/models").await.ok(200);
    let asked = Instant::now();
    process.signal("INT");
    let status = process.ended(Duration::from_secs(2)).await;
    assert_eq!(status.code(), Some(130), "after {:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_waits_for_its_database_and_stops_when_told_while_waiting() {
    let mut postgres = Postgres::start().await;
    postgres.kill();
    let mut process = start(&staging(&postgres.url()));
    let (client, operations) = process.clients().await;
    let waiting = process.line("waiting for the database").await;
    assert_eq!(waiting["limit_seconds"], 300);
    for client in [&client, &operations] {
        client.get("/api/health?probe=liveness").await.ok(200);
        assert_eq!(client.get("/api/ready").await.status, 503);
    }
    postgres.bring_back().await;
    process.ready().await;
    process.signal("TERM");
    assert_eq!(process.ended(Duration::from_secs(15)).await.code(), Some(0));

    postgres.kill();
    let mut process = start(&staging(&postgres.url()));
    process.line("waiting for the database").await;
    process.signal("TERM");
    assert_eq!(process.ended(Duration::from_secs(15)).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_told_to_be_away_only_if_it_is() {
    const AWAY: &str = "Redis, or a part of it, does not answer; going on without";
    let database = TestDatabase::create().await;
    let mut redis = Redis::start().await;
    let mut variables = development(&database.url);
    variables.push(("REDIS_URL", redis.url()));
    let process = start(&variables);
    let (client, _) = process.ready().await;
    process.line("warm").await;
    assert!(
        !process.lines().iter().any(|line| line.contains(AWAY)),
        "a start with a Redis that is there"
    );
    redis.kill();
    let (access, _) = register(&client).await;
    client.with(&access).get("/api/users/me").await.ok(200);
    process.line(AWAY).await;

    let started_without = start(&variables);
    started_without.line(AWAY).await;
}
