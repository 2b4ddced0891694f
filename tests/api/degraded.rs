//! The database goes away, dead or hung, and comes back.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;

use crate::support::{
    Answer, Client, Reply, TestApp,
    accounts::{PASSWORD, Person, register},
    eventually,
    postgres::Postgres,
};

/// The first requests find out; no pool's timeout of many seconds is waited for.
const FOUND_OUT_WITHIN: Duration = Duration::from_secs(1);
const RECOVERED_WITHIN: Duration = Duration::from_secs(5);

async fn start() -> (Postgres, TestApp, Person) {
    let postgres = Postgres::start().await;
    let app = TestApp::start_on(&postgres.url(), |_| {}).await;
    let ada = register(&app).await;
    ada.client.get("/api/invitations").await.ok(200);
    // As whatever routes requests to it has asked before.
    app.client.get("/api/ready").await.ok(200);
    (postgres, app, ada)
}

/// Requests that need the database, each told so in its dialect within the limit.
async fn everything_is_refused(app: &TestApp, ada: &Person, key: &str) {
    let timed = |request: reqwest::RequestBuilder| async move {
        let asked = Instant::now();
        let answer = Answer::of(request).await;
        assert!(
            asked.elapsed() < FOUND_OUT_WITHIN,
            "answered after {:?}: {}",
            asked.elapsed(),
            answer.text()
        );
        assert!(!answer.header("retry-after").is_empty(), "{}", answer.text());
        answer
    };
    let login = json!({"email": ada.email, "password": PASSWORD});
    timed(app.client.request(Method::POST, "/api/auth/login").json(&login))
        .await
        .problem(503, "database_unavailable");
    timed(ada.client.request(Method::GET, "/api/invitations"))
        .await
        .problem(503, "database_unavailable");
    let made = timed(ada.client.request(Method::POST, "/api/conversations").json(&json!({}))).await;
    made.problem(503, "database_unavailable");
    let models = timed(app.client.with(key).request(Method::GET, "/v1/models")).await;
    assert_eq!(models.openai_error(503, "database_unavailable")["type"], "server_error");

    // Known by now: refused without asking, a great many within the limit of one.
    let asked = Instant::now();
    for _ in 0..20 {
        ada.client
            .get("/api/invitations")
            .await
            .problem(503, "database_unavailable");
    }
    assert!(
        asked.elapsed() < FOUND_OUT_WITHIN,
        "20 refusals took {:?}",
        asked.elapsed()
    );

    // What needs no database goes on, and the probes tell the truth.
    app.client.get("/api/models").await.ok(200);
    app.client.get("/api/ready").await.ok(200);
    let health = eventually("health to notice", || async {
        let answer = app.client.get("/api/health").await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert_eq!(health.header("content-type"), "application/health+json");
    assert_eq!(health.json()["checks"]["database_connection"]["status"], "fail");
}

async fn recovers(app: &TestApp, ada: &Person) {
    let back = async {
        while ada.client.get("/api/invitations").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(RECOVERED_WITHIN, back)
        .await
        .expect("recovery by itself");
    eventually("health to notice", || async {
        (app.client.get("/api/health").await.status == 200).then_some(())
    })
    .await;
}

/// Makes conversations until told to stop; gives the ids that were answered 201.
async fn keep_writing(client: Client, mut stop: tokio::sync::oneshot::Receiver<()>) -> Vec<String> {
    let mut made = Vec::new();
    while stop.try_recv().is_err() {
        let answer = client.post("/api/conversations", &json!({})).await;
        match answer.status.as_u16() {
            201 => made.push(answer.json()["id"].as_str().unwrap().to_owned()),
            503 => {
                answer.problem(503, "database_unavailable");
            }
            other => panic!("{other}: {}", answer.text()),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    made
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_database_is_refused_at_once_and_nothing_promised_is_lost() {
    let (mut postgres, app, ada) = start().await;
    let (_, key) = ada.create_key().await;
    let mut stops = Vec::new();
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (stop, stopped) = tokio::sync::oneshot::channel();
            stops.push(stop);
            tokio::spawn(keep_writing(ada.client.clone(), stopped))
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    postgres.kill();
    everything_is_refused(&app, &ada, &key).await;
    postgres.bring_back().await;
    recovers(&app, &ada).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    for stop in stops {
        stop.send(()).unwrap();
    }
    let mut made = 0;
    for writer in writers {
        for id in writer.await.unwrap() {
            ada.client.get(&format!("/api/conversations/{id}")).await.ok(200);
            made += 1;
        }
    }
    assert!(made > 20, "only {made} writes went through");
    app.client.with(&key).get("/v1/models").await.ok(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_database_is_refused_like_a_dead_one() {
    let (postgres, app, ada) = start().await;
    let (_, key) = ada.create_key().await;
    postgres.hang();
    everything_is_refused(&app, &ada, &key).await;
    postgres.wake();
    recovers(&app, &ada).await;
    app.client.with(&key).get("/v1/models").await.ok(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn known_programs_go_on_through_an_outage_and_are_billed_after_it() {
    let mut postgres = Postgres::start().await;
    let app = TestApp::start_on(&postgres.url(), |config| {
        config.auth.lookup_ttl = Duration::from_mins(1);
    })
    .await;
    let ada = register(&app).await;
    let program = ada.program().await;
    let ask = json!({"model": "maple-chat", "messages": []});
    program.post("/v1/chat/completions", &ask).await.ok(200);
    postgres.kill();
    for _ in 0..5 {
        program.post("/v1/chat/completions", &ask).await.ok(200);
    }
    // Long enough for the records' first attempts to fail.
    tokio::time::sleep(Duration::from_millis(500)).await;
    postgres.bring_back().await;
    eventually("the records of the outage", || async {
        let mut database = postgres.connection().await;
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM usage_records")
            .fetch_one(&mut database)
            .await
            .unwrap();
        assert!(count <= 6, "a record was written twice");
        (count == 6).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_shown_is_kept_through_an_outage() {
    let (mut postgres, app, ada) = start().await;
    let conversation = ada.conversation().await;
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    app.upstream
        .reply(Reply::events().text("Hel").gate(&gate).text("lo").usage(3, 2).done());
    let path = format!("/api/conversations/{conversation}");
    let mut events = ada
        .client
        .stream(&format!("{path}/messages"), &json!({"content": "Hi"}))
        .await;
    events.until("delta").await;
    postgres.kill();
    gate.add_permits(1);
    // The text reaches the reader whatever the database does.
    assert_eq!(events.until("delta").await.json(), json!({"text": "lo"}));
    postgres.bring_back().await;
    let done = events.until("done").await.json();
    assert_eq!(done["message"]["content"], "Hello");
    let kept = ada.client.get(&path).await.ok(200);
    assert_eq!(kept["messages"][1], done["message"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_starts_before_its_database_waits_for_it() {
    let mut postgres = Postgres::start().await;
    postgres.kill();
    let app = TestApp::start_on(&postgres.url(), |_| {}).await;
    let waiting = app.client.get("/api/ready").await.ok(503);
    assert_eq!(waiting["status"], "not_ready");
    app.client.get("/api/models").await.ok(200);
    postgres.bring_back().await;
    eventually("readiness", || async {
        (app.client.get("/api/ready").await.status == 200).then_some(())
    })
    .await;
    register(&app).await;
}
