//! `mapleai doctor` on deployments that are well, and that are not.

use std::process::Command;

use serde_json::Value;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::support::{FakeUpstream, database::TestDatabase, postgres::Postgres};

const SECRET: &str = "sk-a-secret-of-the-provider";

fn examine(variables: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mapleai"))
        .arg("doctor")
        .args(arguments)
        .current_dir(folder.path())
        .env_clear()
        .env("MAPLE__USAGE__JOURNAL_DIR", folder.path())
        .env("MAPLE__SERVER__MAX_CONNECTIONS", "100")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

async fn examined(variables: Vec<(&'static str, String)>) -> (Option<i32>, Value) {
    let blocking = move || {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        examine(&variables, &["--json"])
    };
    let (code, text) = tokio::task::spawn_blocking(blocking).await.unwrap();
    assert!(!text.contains(SECRET) && !text.contains("hunter2"), "{text}");
    (code, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}")))
}

fn check<'a>(examination: &'a Value, name: &str) -> &'a Value {
    let checks = examination["checks"].as_array().unwrap();
    checks
        .iter()
        .find(|check| check["name"] == name)
        .unwrap_or_else(|| panic!("{name}: {examination}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_is_well() {
    let (database, upstream) = (TestDatabase::create().await, FakeUpstream::start().await);
    let variables = vec![
        ("DATABASE_URL", database.url.clone()),
        ("MAPLE__PROVIDERS__FAKE__KIND", "openai".to_owned()),
        ("MAPLE__PROVIDERS__FAKE__BASE_URL", upstream.base_url()),
        ("MAPLE__PROVIDERS__FAKE__API_KEY", SECRET.to_owned()),
    ];
    let (code, examination) = examined(variables).await;
    assert_eq!(code, Some(0), "{examination:#}");
    for name in [
        "configuration",
        "migrations",
        "clock",
        "redis",
        "file limits",
        "provider fake",
    ] {
        let check = check(&examination, name);
        assert_eq!(check["status"], "ok", "{examination:#}");
        assert!(check["finding"].is_string() && check["latency_ms"].is_u64(), "{check}");
    }
    assert!(
        check(&examination, "database")["finding"]
            .as_str()
            .unwrap()
            .contains("PostgreSQL")
    );
    // Nothing but the free list was asked for.
    assert!(upstream.calls().iter().all(|call| call.path.ends_with("/models")));
    let (code, table) = examine(&[("DATABASE_URL", database.url.as_str())], &[]);
    assert_eq!(code, Some(0), "{table}");
    assert!(
        table
            .lines()
            .any(|line| line.starts_with("migrations") && line.contains("ok")),
        "{table}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_is_not() {
    let database = TestDatabase::create().await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("DELETE FROM _sqlx_migrations WHERE version = 2; UPDATE _sqlx_migrations SET checksum = '\\x00' WHERE version = 3")
        .execute(&mut connection)
        .await
        .unwrap();
    let variables = vec![
        ("DATABASE_URL", database.url.clone()),
        ("MAPLE__DATABASE__REPORTING_URL", database.url.clone()),
        ("REDIS_URL", "redis://:hunter2@127.0.0.1:1".to_owned()),
        ("MAPLE__PROVIDERS__GONE__KIND", "openai".to_owned()),
        ("MAPLE__PROVIDERS__GONE__BASE_URL", "http://127.0.0.1:1/v1".to_owned()),
        ("MAPLE__PROVIDERS__GONE__API_KEY", SECRET.to_owned()),
    ];
    let (code, examination) = examined(variables).await;
    assert_eq!(
        (code, &examination["status"]),
        (Some(1), &"fail".into()),
        "{examination:#}"
    );
    for (name, status) in [
        ("configuration", "ok"),
        ("database", "ok"),
        ("migrations", "fail"),
        ("replica reporting", "warn"),
        ("redis", "warn"),
        ("provider gone", "fail"),
    ] {
        let check = check(&examination, name);
        if name == "database" && check["status"] == "warn" {
            // Other tests hold many of the shared server's connections.
            continue;
        }
        assert_eq!(check["status"], status, "{examination:#}");
        assert_eq!(check["advice"] == "", status == "ok", "{check}");
    }
}

/// A copy that was removed leaves its slot, and the primary keeps its log for it until the disk is full
/// (zalando/postgres-operator #2012).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_whose_copy_has_gone_is_doubtful() {
    let postgres = Postgres::start().await;
    let (code, examination) = examined(vec![("DATABASE_URL", postgres.url())]).await;
    assert_eq!(
        check(&examination, "replication slots")["status"],
        "ok",
        "{examination:#}"
    );
    assert!(code.is_some());
    let mut database = postgres.connection().await;
    for statement in [
        "SELECT pg_create_physical_replication_slot('gone', true)",
        "CREATE TABLE much AS SELECT repeat('x', 1000) FROM generate_series(1, 5000)",
    ] {
        sqlx::query(statement).execute(&mut database).await.unwrap();
    }
    let (_, examination) = examined(vec![("DATABASE_URL", postgres.url())]).await;
    let slots = check(&examination, "replication slots");
    assert_eq!(slots["status"], "warn", "{examination:#}");
    let finding = slots["finding"].as_str().unwrap();
    assert!(
        finding.contains("gone") && finding.contains("without a limit"),
        "{finding}"
    );
    assert!(!finding.starts_with("0 MiB"), "{finding}");
    assert!(slots["advice"].as_str().unwrap().contains("pg_drop_replication_slot"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_or_is_gone_and_a_configuration_that_does_not_load() {
    let mut postgres = Postgres::start().await;
    postgres.hang();
    let started = std::time::Instant::now();
    let (code, examination) = examined(vec![("DATABASE_URL", postgres.url())]).await;
    assert!(
        started.elapsed() < std::time::Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(
        (code, &check(&examination, "database")["status"]),
        (Some(1), &"fail".into())
    );
    postgres.wake();
    postgres.kill();
    let (code, examination) = examined(vec![("DATABASE_URL", postgres.url())]).await;
    assert_eq!(
        (code, &check(&examination, "database")["status"]),
        (Some(1), &"fail".into())
    );
    let (code, examination) = examined(vec![("MAPLE__SERVER__PORT", "many".to_owned())]).await;
    assert_eq!(code, Some(1));
    let finding = check(&examination, "configuration")["finding"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(finding.contains("server.port"), "{finding}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_nobody_is_told_of_is_doubtful() {
    let https = ("MAPLE__SERVER__PUBLIC_URL", "https://maple.example".to_owned());
    let trusted = ("MAPLE__SERVER__TRUSTED_PROXIES", "10.0.0.0/8".to_owned());
    for (variables, status) in [
        (vec![], "ok"),
        (vec![https.clone()], "warn"),
        (vec![https.clone(), trusted.clone()], "ok"),
    ] {
        let database = TestDatabase::create().await;
        let mut variables = variables;
        variables.push(("DATABASE_URL", database.url.clone()));
        let (_, examination) = examined(variables).await;
        let found = check(&examination, "proxies");
        assert_eq!(found["status"], status, "{found}");
        if status == "warn" {
            assert!(
                found["advice"].as_str().unwrap().contains("server.trusted_proxies"),
                "{found}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registration_that_is_open_outside_development_is_doubtful() {
    let open = ("MAPLE__AUTH__OPEN_REGISTRATION", "true".to_owned());
    let production = || {
        vec![
            ("MAPLE_ENV", "production".to_owned()),
            ("DATABASE_URL", "postgres://127.0.0.1:1/none".to_owned()),
            ("MAPLE__SERVER__PUBLIC_URL", "https://maple.example".to_owned()),
            ("MAPLE__AUTH__ACTIVE_KEY", "k1".to_owned()),
            (
                "MAPLE__AUTH__SIGNING_KEYS__K1",
                "0123456789-abcdefghijklmnopqrstuvwxyz-0123".to_owned(),
            ),
        ]
    };
    let mut opened = production();
    opened.push(open);
    for (variables, status) in [(opened, "warn"), (production(), "ok")] {
        let (_, examination) = examined(variables).await;
        let found = check(&examination, "registration");
        assert_eq!(found["status"], status, "{examination:#}");
        let advice = found["advice"].as_str().unwrap();
        assert_eq!(advice.contains("auth.open_registration"), status == "warn", "{found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_have_not_what_they_need_are_doubtful() {
    let fitting = [
        ("MAPLE__ADMISSION__MAX_IN_FLIGHT", "80"),
        ("MAPLE__ADMISSION__MAX_IN_FLIGHT_PER_ORGANIZATION", "60"),
    ];
    for (other, told) in [
        (None, ""),
        (
            Some(("MAPLE__SERVER__MAX_CONNECTIONS", "50")),
            "server.max_connections (50)",
        ),
        (
            Some(("MAPLE__USAGE__QUEUE_CAPACITY", "70")),
            "usage.queue_capacity (70)",
        ),
        (
            Some(("MAPLE__SERVER__BODY_LIMIT", "201326592")),
            "server.body_limit (201326592)",
        ),
        (
            Some(("MAPLE__ADMISSION__MEMORY_BYTES", "1099511627776")),
            "MiB of memory are there",
        ),
    ] {
        let mut variables: Vec<_> = fitting.map(|(name, value)| (name, value.to_owned())).into();
        variables.push(("DATABASE_URL", "postgres://127.0.0.1:1/none".to_owned()));
        variables.push(("MAPLE__USAGE__BATCH_SIZE", "10".to_owned()));
        variables.extend(other.map(|(name, value)| (name, value.to_owned())));
        let (_, examination) = examined(variables).await;
        let found = check(&examination, "calls");
        assert_eq!(found["status"], if told.is_empty() { "ok" } else { "warn" }, "{found}");
        assert!(found["finding"].as_str().unwrap().contains(told), "{found}");
    }
}

/// As an earlier release stored them, which made letters small and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_with_one_address_in_two_spellings_are_named() {
    let database = TestDatabase::create().await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let organization = Uuid::from_u128(1);
    sqlx::query("INSERT INTO organizations (id, name, created_at) VALUES ($1, 'Corp', now())")
        .bind(organization)
        .execute(&mut connection)
        .await
        .unwrap();
    // The second is whoever comes later: ß is folded to ss.
    let people = [
        (2, "strasse@corp.example"),
        (3, "straße@corp.example"),
        (4, "größe@corp.example"),
    ];
    for (number, email) in people {
        sqlx::query(
            "INSERT INTO users (id, organization_id, email, email_folded, name, role, password_hash, created_at, updated_at)
             VALUES ($1, $2, $3, $3, 'Somebody', 'owner', '', now(), now())",
        )
        .bind(Uuid::from_u128(number))
        .bind(organization)
        .bind(email)
        .execute(&mut connection)
        .await
        .unwrap();
    }
    let (code, examination) = examined(vec![("DATABASE_URL", database.url.clone())]).await;
    let found = check(&examination, "addresses");
    assert_eq!((code, &found["status"]), (Some(0), &"warn".into()), "{found}");
    let finding = found["finding"].as_str().unwrap();
    assert!(
        finding.starts_with("1 accounts") && finding.contains(&Uuid::from_u128(3).to_string()),
        "{finding}"
    );
    assert!(!finding.contains("corp.example"), "{finding}");
    sqlx::query("DELETE FROM users WHERE email = 'strasse@corp.example'")
        .execute(&mut connection)
        .await
        .unwrap();
    let (_, examination) = examined(vec![("DATABASE_URL", database.url.clone())]).await;
    assert_eq!(check(&examination, "addresses")["status"], "ok");
}
