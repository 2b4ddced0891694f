//! A process that is killed under load has recorded every answer that went out whole, once.

mod calls;
mod set_aside;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use sqlx::PgConnection;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::support::{
    Client, FakeUpstream, TIMEOUT, TestApp,
    accounts::{Person, fresh_email, register, registration},
    database::TestDatabase,
    eventually,
    postgres::Postgres,
    served::Process,
};

/// So seldom that without a journal nothing would be left of a short life.
const NEVER: (&str, &str) = ("MAPLE__USAGE__FLUSH_INTERVAL", "1m");

async fn program(client: &Client) -> Client {
    let tokens = client
        .post("/api/auth/register", &registration(&fresh_email()))
        .await
        .ok(201);
    Person::of(client, &tokens).program().await
}

/// Asks for the answer number `number`; true if all of it came.
async fn ask(program: &Client, number: i64) -> bool {
    let body = json!({"model": "maple-chat", "messages": [], "seed": number, "stream": number % 2 == 0});
    let sent = program
        .request(http::Method::POST, "/v1/chat/completions")
        .json(&body)
        .send()
        .await;
    let Ok(mut answer) = sent else { return false };
    assert_eq!(answer.status(), 200);
    let mut read = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => read.extend(chunk),
            // The caller has all it waits for, whether or not the connection ends well.
            Ok(None) => return true,
            Err(_) => return number % 2 == 0 && read.ends_with(b"data: [DONE]\n\n"),
        }
    }
}

/// Asks from many sides at once until the process is killed, after `whole` answers. Gives the numbers of those that came
/// whole.
async fn load_until_killed(process: &mut Process, program: &Client, next: &Arc<AtomicI64>, whole: usize) -> Vec<i64> {
    let answered = Arc::new(Mutex::new(Vec::new()));
    let mut callers = JoinSet::new();
    for _ in 0..16 {
        let (program, answered, next) = (program.clone(), Arc::clone(&answered), Arc::clone(next));
        callers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if !ask(&program, number).await {
                    return;
                }
                answered.lock().unwrap().push(number);
            }
        });
    }
    eventually("load", || async {
        (answered.lock().unwrap().len() >= whole).then_some(())
    })
    .await;
    process.kill();
    tokio::time::timeout(TIMEOUT, callers.join_all()).await.unwrap();
    Arc::try_unwrap(answered).unwrap().into_inner().unwrap()
}

/// How many records each number has.
async fn recorded(database: &mut PgConnection) -> BTreeMap<i64, i64> {
    let rows: Vec<(i64, i64)> = sqlx::query_as("SELECT input_tokens, count(*) FROM usage_records GROUP BY 1")
        .fetch_all(database)
        .await
        .unwrap();
    rows.into_iter().collect()
}

fn missing(recorded: &BTreeMap<i64, i64>, answered: &[i64]) -> usize {
    answered.iter().filter(|number| !recorded.contains_key(number)).count()
}

/// What is in the journal, in bytes.
fn journalled(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().metadata().map_or(0, |file| file.len()))
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_load_it_loses_no_record_and_doubles_none() {
    let database = TestDatabase::create().await;
    let upstream = FakeUpstream::start().await;
    let folder = TempDir::new().unwrap();
    // What development has by default.
    let journal = folder.path().join(".local/journal");
    let mut connection = database.connection().await;
    // Numbers far from what an estimate would be.
    let next = Arc::new(AtomicI64::new(1_000_000));
    let mut answered = Vec::new();
    let mut unwritten = 0;
    let mut key: Option<String> = None;
    // Some lives in which nothing gets to the database, some that end in the middle of inserts and of segments.
    for (interval, batch, whole) in [
        ("1m", "1000", 60),
        ("1ms", "3", 400),
        ("1m", "7", 300),
        ("200ms", "1000", 500),
    ] {
        let variables = [
            ("MAPLE__USAGE__FLUSH_INTERVAL", interval),
            ("MAPLE__USAGE__BATCH_SIZE", batch),
        ];
        let mut process = Process::start(folder.path(), &database.url, &upstream, &variables);
        let program = match &key {
            None => program(&process.client).await,
            Some(key) => process.client.with(key),
        };
        key = program.bearer().map(str::to_owned);
        let now = load_until_killed(&mut process, &program, &next, whole).await;
        assert!(now.len() >= whole);
        answered.extend(now);
        unwritten += missing(&recorded(&mut connection).await, &answered);
    }
    assert!(unwritten >= 60, "the journal had nothing to do: {unwritten}");

    let process = Process::start(folder.path(), &database.url, &upstream, &[NEVER]);
    let recorded = eventually("the records", || async {
        let recorded = recorded(&mut database.connection().await).await;
        (missing(&recorded, &answered) == 0).then_some(recorded)
    })
    .await;
    eventually("the end of the replay", || async {
        (journalled(&journal) == 0).then_some(())
    })
    .await;
    let doubled: Vec<_> = recorded
        .iter()
        .filter(|(number, count)| **number >= 1_000_000 && **count != 1)
        .collect();
    assert!(doubled.is_empty(), "{doubled:?}");
    process.stop().await;
    assert_eq!(fs::read_dir(&journal).unwrap().count(), 0, "a clean end leaves nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_the_database_is_away_it_waits_for_it() {
    let mut postgres = Postgres::start().await;
    let upstream = FakeUpstream::start().await;
    let folder = TempDir::new().unwrap();
    let mut process = Process::start(folder.path(), &postgres.url(), &upstream, &[NEVER]);
    let program = program(&process.client).await;
    assert!(ask(&program, 1_000_000).await);
    postgres.kill();
    let next = Arc::new(AtomicI64::new(1_000_001));
    let mut answered = load_until_killed(&mut process, &program, &next, 50).await;
    answered.push(1_000_000);

    let mut process = Process::start(folder.path(), &postgres.url(), &upstream, &[NEVER]);
    process.told("usage records of a process that died cannot be written; they stay in the journal");
    process.kill();
    let process = Process::start(folder.path(), &postgres.url(), &upstream, &[NEVER]);
    postgres.bring_back().await;
    let mut connection = postgres.connection().await;
    process.told("usage records of a process that died are in the database");
    eventually("the end of the replay", || async {
        (journalled(&folder.path().join(".local/journal")) == 0).then_some(())
    })
    .await;
    let recorded = recorded(&mut connection).await;
    assert_eq!(missing(&recorded, &answered), 0);
    // Calls that were in flight at the kill have consumed nothing.
    let mut whole = recorded.range(1_000_000..);
    assert!(whole.all(|(_, count)| *count == 1), "{recorded:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_usable_folder_it_serves_on_and_says_so() {
    let database = TestDatabase::create().await;
    let upstream = FakeUpstream::start().await;
    let folder = TempDir::new().unwrap();
    let place = folder.path().join("place");
    fs::write(&place, "not a folder").unwrap();
    let variables = [
        ("MAPLE__USAGE__JOURNAL_DIR", "place"),
        ("MAPLE__USAGE__FLUSH_INTERVAL", "5ms"),
    ];
    let process = Process::start(folder.path(), &database.url, &upstream, &variables);
    let program = program(&process.client).await;
    let is_up = async || {
        let metrics = process.client.get("/metrics").await.text();
        let line = metrics.lines().find(|line| line.starts_with("maple_usage_journal_up "));
        line.unwrap_or_else(|| panic!("{metrics}")).ends_with(" 1")
    };
    assert!(!is_up().await);
    let health = async |status: &str| {
        eventually("health to notice", || async {
            let health = process.client.get("/api/health").await.json();
            let checks = health["checks"].as_object().unwrap().clone();
            let check = checks.into_iter().find(|(name, _)| name.starts_with("usage_records"));
            (check.unwrap().1["status"] == status).then_some(())
        })
        .await;
    };
    health("warn").await;
    assert!(ask(&program, 1_000_000).await && ask(&program, 1_000_001).await);
    eventually("the records", || async {
        let recorded = recorded(&mut database.connection().await).await;
        (missing(&recorded, &[1_000_000, 1_000_001]) == 0).then_some(())
    })
    .await;

    fs::remove_file(&place).unwrap();
    process.told("the usage journal is written again");
    assert!(is_up().await);
    health("pass").await;
    assert!(ask(&program, 1_000_002).await);
    process.stop().await;
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
}

/// Two instances on one machine may share the folder: each leaves alone what the other is writing.
#[tokio::test]
async fn instances_share_a_folder() {
    let folder = TempDir::new().unwrap();
    let app = TestApp::start_with(|config| {
        config.usage.journal_dir = Some(folder.path().to_owned());
        config.usage.flush_interval = Duration::from_mins(1);
    })
    .await;
    let program = register(&app).await.program().await;
    assert!(ask(&program, 1_000_000).await);
    let before = journalled(folder.path());
    assert!(before > 0);
    let (second, client) = app.start_second().await;
    assert!(ask(&client.with(program.bearer().unwrap()), 1_000_001).await);
    assert!(journalled(folder.path()) > before);
    second.stop().await;
    app.server.stop().await;
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
