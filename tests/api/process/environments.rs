//! What a process does to a database that is not its environment's, and how a closed service gets its first account.

use std::process::{Command, Output};

use serde_json::json;
use sqlx::Connection as _;

use super::{development, staging, start};
use crate::support::{TIMEOUT, database::TestDatabase, eventually};

fn mapleai(arguments: &[&str], variables: &[(&'static str, String)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_mapleai"))
        .args(arguments)
        .current_dir(folder.path())
        .env_clear()
        .envs(variables.iter().map(|(name, value)| (*name, value.as_str())))
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What another environment's database looks like: everything that migrations make, and no mark.
async fn unmark(database: &TestDatabase) {
    let mut connection = database.connection().await;
    sqlx::raw_sql("DROP TABLE mapleai_development, deployment, migration_runs")
        .execute(&mut connection)
        .await
        .unwrap();
    // As if this binary were newer than what runs on it.
    sqlx::query("DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

async fn counts(database: &TestDatabase) -> (i64, i64) {
    let mut connection = database.connection().await;
    sqlx::query_as("SELECT (SELECT count(*) FROM _sqlx_migrations), (SELECT count(*) FROM users)")
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn development_touches_no_database_of_another_environment() {
    let database = TestDatabase::create().await;
    unmark(&database).await;
    let before = counts(&database).await;
    let variables = development(&database.url);
    // One that served would not end by itself.
    let mut serving = start(&variables);
    let served = serving.ended(TIMEOUT).await.code();
    let told = eventually("its last words", || async {
        let told = serving.lines().join("\n");
        told.contains("mapleai migrate mark").then_some(told)
    })
    .await;
    let mut outcomes = vec![("serve", served, told)];
    for command in ["migrate", "seed"] {
        let output = mapleai(&[command], &variables);
        let told = text(&output.stdout) + &text(&output.stderr);
        outcomes.push((command, output.status.code(), told));
    }
    for (command, code, told) in outcomes {
        assert_eq!(code, Some(1), "{command}: {told}");
        assert!(told.contains("is not development's own"), "{command}: {told}");
        assert!(
            told.contains("mapleai migrate mark --environment development"),
            "{command}: {told}"
        );
    }
    assert_eq!(counts(&database).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_account_has_a_password_of_its_database() {
    let (one, two) = (TestDatabase::create().await, TestDatabase::create().await);
    let mut passwords = Vec::new();
    for database in [&one, &two] {
        let variables = development(&database.url);
        let process = start(&variables);
        let (client, _) = process.ready().await;
        let output = mapleai(&["seed"], &variables);
        let told = text(&output.stdout);
        assert!(output.status.success(), "{told}{}", text(&output.stderr));
        // Beside what the log says on its way.
        let line = told
            .lines()
            .find(|line| line.starts_with("demo@maple.example / "))
            .unwrap();
        let (email, password) = line.split_once(" / ").unwrap();
        let login = json!({"email": email, "password": password});
        client.post("/api/auth/login", &login).await.ok(200);
        let known = json!({"email": email, "password": "maple-demo-password"});
        client.post("/api/auth/login", &known).await.ok(401);
        passwords.push(password.to_owned());
    }
    assert_ne!(passwords[0], passwords[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outside_development_there_are_no_core_dumps() {
    let database = TestDatabase::create().await;
    let limit = |process: &crate::support::process::Process| {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.id())).unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"))
            .unwrap();
        line.split_whitespace().skip(4).take(2).collect::<Vec<_>>().join(" ")
    };
    let closed = start(&staging(&database.url));
    closed.ready().await;
    assert_eq!(limit(&closed), "1 1");
    let open = start(&development(&database.url));
    open.ready().await;
    assert_ne!(limit(&open), "1 1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_closed_until_an_operator_makes_an_organization() {
    let database = TestDatabase::create().await;
    let mut variables = staging(&database.url);
    variables.retain(|(name, _)| *name != "MAPLE__AUTH__OPEN_REGISTRATION");
    let process = start(&variables);
    let (client, _) = process.ready().await;
    let stranger =
        json!({"email": "eve@maple.test", "password": "a password of Eve's own", "name": "Eve", "organization": "Eve"});
    let refused = client.post("/api/auth/register", &stranger).await.ok(403);
    assert!(refused["detail"].as_str().unwrap().contains("closed"), "{refused}");

    let output = mapleai(
        &["org", "create", "--name", "Maple", "--email", "ada@maple.test"],
        &variables,
    );
    let told = text(&output.stdout);
    assert!(output.status.success(), "{told}{}", text(&output.stderr));
    let password = |told: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix("password"));
        line.unwrap().trim().to_owned()
    };
    let first = password(&told);
    let login = |password: &str| json!({"email": "ada@maple.test", "password": password});
    let signed_in = client.post("/api/auth/login", &login(&first)).await.ok(200);
    assert_eq!(signed_in["user"]["role"], "owner");

    let again = mapleai(
        &["org", "create", "--name", "Maple", "--email", "ada@maple.test"],
        &variables,
    );
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("exists"), "{}", text(&again.stderr));
    let odd = mapleai(&["org", "create", "--name", " ", "--email", "ada"], &variables);
    let told = text(&odd.stderr);
    assert!(told.contains("email ") && told.contains("organization "), "{told}");

    // Who has forgotten it is given another, and whoever knew the old one is out.
    let reset = mapleai(&["org", "reset-password", "--email", "ada@maple.test"], &variables);
    let told = text(&reset.stdout);
    assert!(reset.status.success(), "{told}{}", text(&reset.stderr));
    client.post("/api/auth/login", &login(&first)).await.ok(401);
    client.post("/api/auth/login", &login(&password(&told))).await.ok(200);
}
