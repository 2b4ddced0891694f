//! Read replicas: asked while what they have is young enough, by the marker that the primary writes.

use std::{process::Command, time::Duration};

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;
use sqlx::Executor as _;

use crate::support::{
    Client, TestApp,
    accounts::{Person, register},
    database::TestDatabase,
    eventually,
    postgres::Postgres,
};

const MAX_LAG: Duration = Duration::from_secs(9);

async fn start(primary: &str, replica: &str) -> TestApp {
    TestApp::start_on(primary, |config| {
        config.database.reporting_url = Some(replica.into());
        config.database.analytics_url = Some(replica.into());
        config.database.replica_max_lag = MAX_LAG;
    })
    .await
}

/// A report of a span that was not asked for before: of a day that is over the answer is remembered.
async fn report(ada: &Person, days: &mut i64) {
    *days += 1;
    let from = NaiveDate::from_ymd_opt(2025, 6, 1).unwrap() - chrono::TimeDelta::days(*days);
    ada.client
        .get(&format!("/api/usage?from={from}&to=2025-06-30"))
        .await
        .ok(200);
}

async fn reads(app: &TestApp, source: &str, reason: &str) -> u64 {
    let wanted =
        format!("maple_replica_reads_total{{database=\"reporting\",source=\"{source}\",reason=\"{reason}\"}} ");
    let text = app.client.get("/metrics").await.text();
    let line = text.lines().find_map(|line| line.strip_prefix(&wanted));
    line.map_or(0, |value| value.parse().unwrap())
}

/// Reports are answered by `source`, for `reason`, from some time on.
async fn answered_by(app: &TestApp, ada: &Person, days: &mut i64, source: &str, reason: &str) {
    let deadline = tokio::time::Instant::now() + MAX_LAG * 3;
    loop {
        let before = reads(app, source, reason).await;
        report(ada, days).await;
        if reads(app, source, reason).await > before {
            return;
        }
        let metrics = app.client.get("/metrics").await.text();
        let seen: Vec<_> = metrics.lines().filter(|line| line.contains("replica_")).collect();
        assert!(tokio::time::Instant::now() < deadline, "{source}, {reason}: {seen:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until health has this status for the replica, and returns the details for operators.
async fn health(app: &TestApp, status: &'static str) -> String {
    let operations = Client::new(app.server.ops_address().unwrap());
    eventually(status, || async {
        let health = operations.get("/api/health").await.ok(200);
        let replica = &health["checks"]["database_connection"]["components"]["reporting"];
        let detail = replica["detail"].as_str().unwrap();
        (replica["status"] == status).then(|| detail.to_owned())
    })
    .await
}

/// What `mapleai doctor` says of the replica.
async fn doctor(primary: &Postgres, replica: &str) -> Value {
    let (primary, replica) = (primary.url(), replica.to_owned());
    let examining = tokio::task::spawn_blocking(move || {
        let folder = tempfile::tempdir().unwrap();
        Command::new(env!("CARGO_BIN_EXE_mapleai"))
            .args(["doctor", "--json"])
            .current_dir(folder.path())
            .env_clear()
            .env("DATABASE_URL", primary)
            .env("MAPLE__DATABASE__REPORTING_URL", replica)
            .env("MAPLE__DATABASE__REPLICA_MAX_LAG", "9s")
            .output()
            .unwrap()
    });
    let examined: Value = serde_json::from_slice(&examining.await.unwrap().stdout).unwrap();
    let checks = examined["checks"].as_array().unwrap();
    checks
        .iter()
        .find(|check| check["name"] == "replica reporting")
        .unwrap()
        .clone()
}

/// A standby that is cut off has replayed all that it will ever get, and by its own word has no lag
/// (prometheus-community/postgres_exporter #545, #977).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_cut_off_is_passed_over_until_it_follows_again() {
    let primary = Postgres::start().await;
    let standby = primary.standby().await;
    let app = start(&primary.url(), &standby.url()).await;
    let (ada, mut days) = (register(&app).await, 0);
    answered_by(&app, &ada, &mut days, "replica", "fit").await;

    let follows: String = sqlx::query_scalar("SHOW primary_conninfo")
        .fetch_one(&mut standby.connection().await)
        .await
        .unwrap();
    standby.set("primary_conninfo", "host=127.0.0.1 port=1").await;
    answered_by(&app, &ada, &mut days, "primary", "behind").await;
    let told = health(&app, "warn").await;
    assert!(told.contains("behind"), "{told}");
    let examined = doctor(&primary, &standby.url()).await;
    assert_eq!(examined["status"], "warn", "{examined}");
    assert!(
        !examined["finding"].as_str().unwrap().contains(" 0 bytes"),
        "{examined}"
    );

    standby.set("primary_conninfo", &follows.replace('\'', "")).await;
    answered_by(&app, &ada, &mut days, "replica", "fit").await;
    health(&app, "pass").await;
    assert_eq!(doctor(&primary, &standby.url()).await["status"], "ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_hangs_or_is_dead_is_passed_over() {
    let primary = Postgres::start().await;
    let mut standby = primary.standby().await;
    let app = start(&primary.url(), &standby.url()).await;
    let (ada, mut days) = (register(&app).await, 0);
    answered_by(&app, &ada, &mut days, "replica", "fit").await;
    standby.hang();
    answered_by(&app, &ada, &mut days, "primary", "failed").await;
    answered_by(&app, &ada, &mut days, "primary", "behind").await;
    standby.wake();
    answered_by(&app, &ada, &mut days, "replica", "fit").await;
    standby.kill();
    answered_by(&app, &ada, &mut days, "primary", "failed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_database_is_no_replica() {
    let (primary, other) = (TestDatabase::create().await, TestDatabase::create().await);
    let mut of_another = other.connection().await;
    of_another
        .execute("UPDATE markers SET number = 1000000, written_at = now() + interval '1 hour'")
        .await
        .unwrap();
    let app = start(&primary.url, &other.url).await;
    let (ada, mut days) = (register(&app).await, 0);
    answered_by(&app, &ada, &mut days, "primary", "foreign").await;
    assert_eq!(reads(&app, "replica", "fit").await, 0);
}

async fn marker(database: &mut sqlx::PgConnection) -> (i64, DateTime<Utc>, i64) {
    sqlx::query_as("SELECT number, written_at, timeline FROM markers")
        .fetch_one(database)
        .await
        .unwrap()
}

/// Several instances write one marker, and it does not wait for a standby that is gone: a wait for one is ended by no limit, and leaves
/// its session on the server (patroni/patroni #2019).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_marker_is_written_for_all_instances_with_or_without_a_standby() {
    let postgres = Postgres::start().await;
    let app = TestApp::start_on(&postgres.url(), |_| {}).await;
    let _second = app.start_second().await;
    let mut database = postgres.connection().await;
    let (first, began, timeline) = eventually("a marker", || async {
        let found = marker(&mut postgres.connection().await).await;
        (found.0 > 0).then_some(found)
    })
    .await;
    assert_eq!(timeline, 1);
    postgres.set("synchronous_standby_names", "gone").await;
    let (last, ended) = loop {
        let (number, at, _) = marker(&mut database).await;
        if number >= first + 3 {
            break (number, at);
        }
        assert!(
            Utc::now() - began < chrono::TimeDelta::seconds(60),
            "{number} after {first}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let each = (ended - began).as_seconds_f64() / (last - first) as f64;
    assert!(each >= 5.0, "written every {each} s, for two instances");
    let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(waiting, 0);
    postgres.set("synchronous_standby_names", "").await;

    // A clock that was ahead and is set back.
    database
        .execute("UPDATE markers SET written_at = now() + interval '1 day'")
        .await
        .unwrap();
    eventually("a marker of today", || async {
        let (_, at, _) = marker(&mut postgres.connection().await).await;
        (at < Utc::now() + chrono::TimeDelta::hours(1)).then_some(())
    })
    .await;
}
