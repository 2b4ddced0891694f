//! Secrets that change under load, in the files that the variables name: the real binary, and no request fails.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use sqlx::PgConnection;

use crate::support::{
    Client,
    accounts::{fresh_email, registration},
    eventually,
    postgres::Postgres,
    process::Process,
};

/// A folder of secrets as a kubelet mounts it: each change is one exchange of a link.
struct Mounted {
    folder: tempfile::TempDir,
    version: u32,
}

impl Mounted {
    fn new(secrets: &[(&str, &str)]) -> Self {
        let mut mounted = Self {
            folder: tempfile::tempdir().unwrap(),
            version: 0,
        };
        mounted.write(secrets);
        mounted
    }

    fn write(&mut self, secrets: &[(&str, &str)]) {
        self.version += 1;
        let data = self.folder.path().join(format!("..v{}", self.version));
        fs::create_dir(&data).unwrap();
        for (name, secret) in secrets {
            fs::write(data.join(name), format!("{secret}\n")).unwrap();
        }
        let link = self.folder.path().join("..new");
        std::os::unix::fs::symlink(&data, &link).unwrap();
        fs::rename(&link, self.folder.path().join("..data")).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join("..data").join(name).display().to_string()
    }
}

/// Asks without a pause in between, in ways that need the database, until told to stop; what was not answered 2xx.
async fn load(client: Client, stop: Arc<AtomicBool>) -> (u32, Vec<String>) {
    let (mut answered, mut failed) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let answer = client.post("/api/conversations", &json!({"model": "maple-dev"})).await;
        let mine = client.get("/api/keys").await;
        for answer in [answer, mine] {
            answered += 1;
            if !answer.status.is_success() {
                failed.push(format!("{}: {}", answer.status, answer.text()));
            }
        }
    }
    (answered, failed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_database_password_costs_no_request() {
    let postgres = Postgres::start().await;
    let first = postgres.with_password("service", "first").await;
    let mut secrets = Mounted::new(&[("url", &first)]);
    let process = Process::start(&[
        ("DATABASE_URL_FILE", &secrets.path("url")),
        // The file wins.
        ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none"),
        ("MAPLE__DATABASE__MAX_CONNECTIONS", "6"),
        ("MAPLE__DATABASE__MIN_CONNECTIONS", "3"),
    ]);
    let (client, operations) = process.ready().await;
    let registered = client.post("/api/auth/register", &registration(&fresh_email())).await;
    let token = registered.ok(201)["access_token"].as_str().unwrap().to_owned();
    let stop = Arc::new(AtomicBool::new(false));
    let loads: Vec<_> = (0..8)
        .map(|_| tokio::spawn(load(client.with(&token), Arc::clone(&stop))))
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;

    // As a rotation does it: first the database, and the file some time later.
    let mut operator = postgres.connection().await;
    change_password(&mut operator, "second").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    secrets.write(&[("url", &postgres.url_for("service", "second"))]);
    taken_up(&process, "database.url", 1).await;

    // The other way round: the file is known to be wrong until the database follows.
    secrets.write(&[("url", &postgres.url_for("service", "third"))]);
    let message = "secrets in files have changed and cannot be taken up; going on with those in use";
    let told = process.line(message).await;
    assert_eq!(told["target"], "mapleai::security");
    assert!(
        told["problem"].as_str().unwrap().starts_with("database.url: "),
        "{told}"
    );
    let before: String = sqlx::query_scalar("SELECT now()::text")
        .fetch_one(&mut operator)
        .await
        .unwrap();
    change_password(&mut operator, "third").await;
    taken_up(&process, "database.url", 2).await;

    // Nothing is left that logged in before.
    eventually("the old connections' end", || async {
        let old: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'service' AND backend_start < $1::timestamptz",
        )
        .bind(&before)
        .fetch_one(&mut postgres.connection().await)
        .await
        .unwrap();
        (old == 0).then_some(())
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let mut answered = 0;
    for load in loads {
        let (count, failed) = load.await.unwrap();
        assert!(failed.is_empty(), "{failed:#?}\n{:#?}", process.lines());
        answered += count;
    }
    assert!(answered > 200, "{answered} is no load");
    let metrics = operations.get("/metrics").await.text();
    assert!(
        metrics.contains("maple_secret_rotations_total{outcome=\"applied\"} 2"),
        "{metrics}"
    );
    let all = process.lines().concat();
    for secret in [":first@", ":second@", ":third@"] {
        assert!(!all.contains(secret), "{secret} is in the log");
    }
    let warned = process
        .lines()
        .iter()
        .filter(|line| line.contains("going on with those there are"))
        .count();
    assert!(warned <= 4, "{warned} lines");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_signing_key_signs_nobody_out_and_a_new_operations_token_holds_at_once() {
    let postgres = Postgres::start().await;
    let (old, new) = ("o".repeat(48), "n".repeat(48));
    let (door, gate) = ("d".repeat(40), "g".repeat(40));
    let mut secrets = Mounted::new(&[("key", &old), ("ops", &door)]);
    let process = Process::start(&[
        ("DATABASE_URL", &postgres.url()),
        ("MAPLE__AUTH__ACTIVE_KEY", "k1"),
        ("MAPLE__AUTH__SIGNING_KEYS__K1_FILE", &secrets.path("key")),
        ("MAPLE__SERVER__OPS_TOKEN_FILE", &secrets.path("ops")),
    ]);
    let (client, operations) = process.ready().await;
    let registered = client
        .post("/api/auth/register", &registration(&fresh_email()))
        .await
        .ok(201);
    let before = client.with(registered["access_token"].as_str().unwrap());
    let purge = json!({"class": "answer"});
    operations.with(&door).post("/cache/purge", &purge).await.ok(200);

    secrets.write(&[("key", &new), ("ops", &gate)]);
    taken_up(&process, "auth.signing_keys", 1).await;
    before.get("/api/users/me").await.ok(200);
    let refresh = json!({"refresh_token": registered["refresh_token"]});
    let refreshed = client.post("/api/auth/refresh", &refresh).await.ok(200);
    let after = client.with(refreshed["access_token"].as_str().unwrap());
    after.get("/api/users/me").await.ok(200);
    eventually("the new token", || async {
        let answer = operations.with(&gate).post("/cache/purge", &purge).await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(operations.with(&door).post("/cache/purge", &purge).await.status, 401);

    // What is no key is refused, by its name, and nothing changes.
    secrets.write(&[("key", "short"), ("ops", &gate)]);
    let message = "secrets in files have changed and cannot be taken up; going on with those in use";
    let told = process.line(message).await;
    let problem = told["problem"].as_str().unwrap();
    assert!(
        problem.contains("auth.signing_keys.k1") && problem.contains("32 bytes"),
        "{problem}"
    );
    after.get("/api/users/me").await.ok(200);
    let all = process.lines().concat();
    for secret in [&old, &new, &door, &gate] {
        assert!(!all.contains(secret), "a secret is in the log");
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_ends_the_start_by_its_name() {
    let mut process = Process::start(&[
        ("DATABASE_URL_FILE", "/nowhere/url"),
        ("MAPLE__SERVER__OPS_TOKEN_FILE", "/dev/null"),
    ]);
    let status = process.ended(Duration::from_secs(20)).await;
    assert_eq!(status.code(), Some(2));
    let all = process.lines().join("\n");
    assert!(
        all.contains("DATABASE_URL_FILE") && all.contains("\"/nowhere/url\" cannot be read"),
        "{all}"
    );
    assert!(
        all.contains("MAPLE__SERVER__OPS_TOKEN_FILE") && all.contains("must not be empty"),
        "{all}"
    );
}

async fn change_password(operator: &mut PgConnection, password: &str) {
    let statement = format!("SET password_encryption = 'md5'; ALTER ROLE service PASSWORD '{password}'");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
        .execute(operator)
        .await
        .unwrap();
}

/// The `times`-th word that this secret was taken up.
async fn taken_up(process: &Process, key: &str, times: usize) {
    eventually("the secret's rotation", || async {
        let lines = process.lines();
        let words = lines
            .iter()
            .filter(|line| line.contains("secret_rotated") && line.contains(key))
            .count();
        (words >= times).then_some(())
    })
    .await;
}
