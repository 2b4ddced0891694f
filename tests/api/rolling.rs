//! Instances behind a real load balancer, restarted in turn under load: nobody notices.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{
    Answer, Client,
    database::TestDatabase,
    eventually,
    haproxy::{Haproxy, free_port},
    process::Process,
};

/// Requests begin at this rate, whatever becomes of those before.
const RATE: f64 = 50.0;
const RESTARTS: usize = 5;
/// Longer than HAProxy takes to ask again.
const DRAIN_DELAY: &str = "1s";

fn instance(database: &str, port: u16) -> Process {
    let port = port.to_string();
    Process::start(&[
        ("DATABASE_URL", database),
        ("PORT", &port),
        ("MAPLE__DATABASE__MIGRATE_ON_START", "false"),
        ("MAPLE__SERVER__DRAIN_DELAY", DRAIN_DELAY),
        ("MAPLE__SERVER__DRAIN_TIMEOUT", "20s"),
        ("MAPLE__LOG__LEVEL", "warn"),
        ("MAPLE__AUTH__ARGON2_MEMORY_KIB", "64"),
    ])
}

/// What went wrong, if something did.
async fn call(program: Client, streamed: bool) -> Result<(), String> {
    let question = "Tell me [[mock:tokens=20]] [[mock:delay=40ms]]";
    let ask = json!({"model": "maple-dev", "stream": streamed, "messages": [{"role": "user", "content": question}]});
    let request = program.request(Method::POST, "/v1/chat/completions").json(&ask);
    let response = request.send().await.map_err(|error| format!("{error:?}"))?;
    let status = response.status();
    let text = response
        .text()
        .await
        .map_err(|error| format!("broken off: {error:?}"))?;
    let whole = if streamed {
        text.ends_with("data: [DONE]\n\n") && !text.contains("\"error\"")
    } else {
        text.contains("\"finish_reason\"")
    };
    if status == 200 && whole {
        Ok(())
    } else {
        Err(format!("{status}: {text}"))
    }
}

/// Records of finished calls, and of all.
async fn recorded(behind: &mut sqlx::PgConnection) -> (i64, i64) {
    sqlx::query_as("SELECT count(*) FILTER (WHERE outcome = 'completed'), count(*) FROM usage_records")
        .fetch_one(behind)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_in_turn_lose_no_request_no_stream_and_no_record() {
    let database = TestDatabase::create().await;
    let ports = [free_port(), free_port()];
    let mut instances = ports.map(|port| instance(&database.url, port));
    for process in &instances {
        process.ready().await;
    }
    let haproxy = Haproxy::start(&ports).await;
    let client = Client::new(([127, 0, 0, 1], haproxy.port).into());
    let body = json!({"email": "ada@maple.test", "password": "a phrase of her own choice", "name": "Ada", "organization": "Maple"});
    let made = eventually("an instance behind HAProxy", || async {
        let answer = client.post("/api/auth/register", &body).await;
        (answer.status == 201).then(|| answer.json())
    })
    .await;
    let person = client.with(made["access_token"].as_str().unwrap());
    let key = person.post("/api/keys", &json!({"name": "load"})).await.ok(201);
    let program = client.with(key["key"].as_str().unwrap());

    let over = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&over);
    let load = tokio::spawn(async move {
        let mut calls = JoinSet::new();
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / RATE));
        while !stop.load(Ordering::Relaxed) {
            ticks.tick().await;
            let streamed = calls.len() % 2 == 0;
            calls.spawn(call(program.clone(), streamed));
        }
        calls.join_all().await
    });
    for _ in 0..RESTARTS {
        for (number, port) in ports.into_iter().enumerate() {
            instances[number].signal("TERM");
            let status = instances[number].ended(Duration::from_secs(25)).await;
            assert_eq!(status.code(), Some(0), "{:#?}", instances[number].lines());
            instances[number] = instance(&database.url, port);
            instances[number].ready().await;
            // As a roll-out does: the next one goes when HAProxy has had time to see this one.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    over.store(true, Ordering::Relaxed);
    let outcomes = load.await.unwrap();
    let failed: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(
        failed.is_empty(),
        "{} of {} failed: {failed:#?}",
        failed.len(),
        outcomes.len()
    );
    assert!(outcomes.len() > 500, "only {} requests", outcomes.len());

    let mut behind = database.connection().await;
    let delivered = i64::try_from(outcomes.len()).unwrap();
    for _ in 0..100 {
        if recorded(&mut behind).await.1 >= delivered {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        recorded(&mut behind).await,
        (delivered, delivered),
        "the ledger equals what was delivered"
    );
    let usage = Answer::of(person.request(Method::GET, "/api/usage")).await.ok(200);
    assert_eq!(usage["totals"]["requests"], delivered, "{usage}");
}
