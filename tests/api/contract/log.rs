//! The log as production has it: states are told when they change, however many requests meet them.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::database::set_read_only;
use crate::support::{Client, FakeUpstream, Reply, postgres::Postgres, process::Process};

/// Requests in each state; and the lines that one state may take from its beginning to its end.
const REQUESTS: usize = 120;
const MAX_LINES: usize = 8;

fn production(postgres: &Postgres, upstream: &FakeUpstream) -> Process {
    Process::start(&[
        ("MAPLE_ENV", "production"),
        ("DATABASE_URL", &postgres.url()),
        ("MAPLE__DATABASE__MAX_CONNECTIONS", "8"),
        ("MAPLE__SERVER__HOST", "127.0.0.1"),
        ("MAPLE__SERVER__PUBLIC_URL", "https://maple.test"),
        ("MAPLE__SERVER__DRAIN_DELAY", "0s"),
        (
            "MAPLE__AUTH__SIGNING_KEYS__K",
            "a-signing-key-that-only-these-tests-use-0123456789",
        ),
        ("MAPLE__AUTH__ACTIVE_KEY", "k"),
        ("MAPLE__AUTH__OPEN_REGISTRATION", "true"),
        ("MAPLE__USAGE__JOURNAL_DIR", ""),
        ("MAPLE__PROVIDERS__FAKE__KIND", "openai"),
        ("MAPLE__PROVIDERS__FAKE__BASE_URL", &upstream.base_url()),
        (
            "MAPLE__MODELS",
            r#"[{id = "maple-chat", provider = "fake", kind = "chat"}]"#,
        ),
    ])
}

struct Traffic {
    person: Client,
    program: Client,
}

impl Traffic {
    /// Reads, writes and calls, some at once; whatever comes of them.
    async fn flows(&self) {
        let (body, chat) = (json!({}), json!({"model": "maple-chat", "messages": []}));
        for _ in 0..REQUESTS / 12 {
            let reads = join_all((0..4).map(|_| self.person.get("/api/invitations")));
            let writes = join_all((0..4).map(|_| self.person.post("/api/conversations", &body)));
            let calls = join_all((0..4).map(|_| self.program.post("/v1/chat/completions", &chat)));
            let answers = tokio::join!(reads, writes, calls);
            for answer in answers.0.iter().chain(&answers.1).chain(&answers.2) {
                assert_ne!(answer.status, 500, "{}", answer.text());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The lines of a state that has begun after `before` lines and is over; those named are there once.
fn told(process: &Process, before: usize, once: &[&str]) {
    let lines = process.lines().split_off(before);
    assert!(lines.len() <= MAX_LINES, "{} lines: {lines:#?}", lines.len());
    for message in once {
        // Not in the cause that another line names.
        let says = |line: &&String| {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            line["message"].as_str().is_some_and(|text| text.contains(message))
        };
        assert_eq!(lines.iter().filter(says).count(), 1, "{message}: {lines:#?}");
    }
    for line in &lines {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert_ne!(line["message"], "request failed", "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn states_are_told_once_and_not_per_request() {
    let mut postgres = Postgres::start().await;
    let upstream = FakeUpstream::start().await;
    let process = production(&postgres, &upstream);
    let (client, _) = process.ready().await;
    let body = json!({"email": "ada@maple.test", "password": "a phrase of her own choice", "name": "Ada", "organization": "Maple"});
    let made = client.post("/api/auth/register", &body).await.ok(201);
    let person = client.with(made["access_token"].as_str().unwrap());
    let key = person.post("/api/keys", &json!({"name": "k"})).await.ok(201);
    let traffic = Traffic {
        program: client.with(key["key"].as_str().unwrap()),
        person,
    };
    traffic.flows().await;

    let before = process.lines().len();
    postgres.kill();
    traffic.flows().await;
    postgres.bring_back().await;
    process.line("database is back").await;
    traffic.flows().await;
    told(
        &process,
        before,
        &["database is unavailable; refusing", "database is back"],
    );

    let before = process.lines().len();
    postgres.hang();
    traffic.flows().await;
    postgres.wake();
    process.line_after(before, "database is back").await;
    traffic.flows().await;
    told(
        &process,
        before,
        &["database is unavailable; refusing", "database is back"],
    );

    let before = process.lines().len();
    set_read_only(&postgres, "on").await;
    traffic.flows().await;
    set_read_only(&postgres, "off").await;
    process.line_after(before, "database takes writes again").await;
    traffic.flows().await;
    told(
        &process,
        before,
        &["database takes no writes", "database takes writes again"],
    );

    let before = process.lines().len();
    for _ in 0..REQUESTS / 3 {
        upstream.reply(Reply::json(500, &json!({})));
    }
    traffic.flows().await;
    told(&process, before, &[]);
    let usage = traffic.person.get("/api/usage").await.ok(200);
    assert!(usage["totals"]["requests"].as_u64().unwrap() > 0, "{usage}");
}
