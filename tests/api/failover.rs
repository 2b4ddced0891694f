//! Another server takes over: the one before was stopped in order, came back as a standby, or believes that it still is the primary.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{
    Client, TestApp,
    accounts::{Person, register},
    eventually,
    postgres::Postgres,
    switch::Switch,
};

const FOLLOWED_WITHIN: Duration = Duration::from_secs(10);

async fn start() -> (Postgres, Postgres, Switch, TestApp, Person) {
    let first = Postgres::start().await;
    let second = first.standby().await;
    let switch = Switch::to(first.port()).await;
    let app = TestApp::start_on(&switch.url(), |_| {}).await;
    let ada = register(&app).await;
    // More than one connection is open.
    let asked = (0..8).map(|_| ada.client.get("/api/conversations"));
    futures_util::future::join_all(asked).await;
    (first, second, switch, app, ada)
}

async fn writes(ada: &Person) -> Option<String> {
    let made = ada.client.post("/api/conversations", &json!({"title": "After"})).await;
    (made.status == 201).then(|| made.json()["id"].as_str().unwrap().to_owned())
}

async fn count(server: &Postgres, query: &'static str) -> i64 {
    sqlx::query_scalar(query)
        .fetch_one(&mut server.connection().await)
        .await
        .unwrap()
}

const OURS: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mapleai'";
const CONVERSATIONS: &str = "SELECT count(*) FROM conversations";

/// Until the last session has left the server waits, and nobody takes over (cloudnative-pg/cloudnative-pg #2844, #1789).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_in_order_is_left_and_its_successor_followed() {
    let (mut first, second, switch, _app, ada) = start().await;
    let before = writes(&ada).await.unwrap();
    first.stop_when_all_have_left();
    let asked = Instant::now();
    while !first.has_stopped() {
        assert!(asked.elapsed() < FOLLOWED_WITHIN, "its sessions have not left it");
        let _ = ada.client.get("/api/conversations").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    second.promote().await;
    switch.set(second.port());
    let promoted = Instant::now();
    eventually("a write to the successor", || writes(&ada)).await;
    assert!(promoted.elapsed() < FOLLOWED_WITHIN, "after {:?}", promoted.elapsed());
    let listed = ada.client.get("/api/conversations").await.ok(200);
    assert!(
        listed.to_string().contains(&before),
        "what was answered 201 is gone: {listed}"
    );
}

/// Connections that were opened before the address moved go on reading yesterday's data from it (brettwooldridge/HikariCP #1802).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_primary_that_answers_reads_is_left_when_the_address_moves() {
    let (mut first, second, switch, _app, ada) = start().await;
    second.promote().await;
    first.follow(&second).await;
    // Meanwhile the address still leads to it: connections are opened, and reads answered.
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        let _ = ada.client.get("/api/conversations").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(writes(&ada).await.is_none());
    assert!(count(&first, OURS).await > 0, "nothing there to be left");
    switch.set(second.port());
    let moved = Instant::now();
    eventually("a write to the successor", || writes(&ada)).await;
    eventually("the former primary's last session", || async {
        (count(&first, OURS).await == 0).then_some(())
    })
    .await;
    assert!(moved.elapsed() < FOLLOWED_WITHIN, "after {:?}", moved.elapsed());
}

/// One that was cut off and comes back takes writes that nobody will have (cloudnative-pg/cloudnative-pg #7407).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_whose_history_has_ended_is_not_written_to() {
    let (first, second, switch, app, ada) = start().await;
    second.promote().await;
    switch.set(second.port());
    // Nothing has failed so far: connections to the first one go on until it is seen where the address leads.
    eventually("the first one's last session", || async {
        (count(&first, OURS).await == 0).then_some(())
    })
    .await;
    eventually("a write to the successor", || writes(&ada)).await;
    let (there, here) = (count(&first, CONVERSATIONS).await, count(&second, CONVERSATIONS).await);

    switch.set(first.port());
    let until = Instant::now() + FOLLOWED_WITHIN;
    let mut refused = 0;
    while Instant::now() < until {
        refused += u32::from(writes(&ada).await.is_none());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        count(&first, CONVERSATIONS).await,
        there,
        "written to a primary of the past"
    );
    assert!(refused > 0 || count(&second, CONVERSATIONS).await > here);
    let metrics = app.client.get("/metrics").await.text();
    let stale = metrics
        .lines()
        .find_map(|line| line.strip_prefix("maple_database_stale_primaries_total "));
    assert!(stale.is_some_and(|count| count != "0"), "{stale:?}");
    switch.set(second.port());
    eventually("a write to the successor", || writes(&ada)).await;
}

/// The wait for a standby is ended by no limit of statements, and goes on when its client has left (patroni/patroni #2019).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_no_standby_confirms_take_no_connections_from_reads() {
    let postgres = Postgres::start().await;
    let app = TestApp::start_on(&postgres.url(), |config| {
        config.database.statement_timeout = Duration::from_secs(2);
    })
    .await;
    let ada = register(&app).await;
    let key = ada.program().await;
    postgres.set("synchronous_standby_names", "gone").await;
    let stop = tokio_util::sync::CancellationToken::new();
    let writers: Vec<_> = (0..20)
        .map(|_| {
            let (client, stop) = (ada.client.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.is_cancelled() {
                    let made = client
                        .post("/api/conversations", &json!({"title": "Unconfirmed"}))
                        .await;
                    if stop.is_cancelled() {
                        // Confirmed or not by now.
                        return;
                    }
                    assert_eq!(made.status, 503, "{}", made.text());
                    assert!(!made.header("retry-after").is_empty());
                }
            })
        })
        .collect();
    let (began, mut most) = (Instant::now(), 0);
    let mut slowest = Duration::ZERO;
    while began.elapsed() < Duration::from_secs(20) {
        let asked = Instant::now();
        key.get("/v1/models").await.ok(200);
        ada.client.get("/api/invitations").await.ok(200);
        slowest = slowest.max(asked.elapsed());
        most = most.max(count(&postgres, OURS).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let operations = Client::new(app.server.ops_address().unwrap());
    let health = operations.get("/api/health").await.ok(200);
    let primary = &health["checks"]["database_connection"]["components"]["primary"];
    assert_eq!(primary["status"], "warn", "{health:#}");
    assert!(primary["detail"].as_str().unwrap().contains("standby"), "{primary}");
    // The pool's, those whose client has just given up, and the looks for them.
    let bound = i64::from(app.config.database.max_connections) * 2 + 5;
    assert!(most <= bound, "{most} sessions, where {bound} are allowed");
    assert!(slowest < Duration::from_secs(2), "a read took {slowest:?}");

    stop.cancel();
    postgres.set("synchronous_standby_names", "").await;
    for writer in writers {
        writer.await.unwrap();
    }
    let ended = Instant::now();
    eventually("a write", || writes(&ada)).await;
    eventually("health without a warning", || async {
        let health = operations.get("/api/health").await.ok(200);
        (health["checks"]["database_connection"]["components"]["primary"]["status"] == "pass").then_some(())
    })
    .await;
    assert!(ended.elapsed() < FOLLOWED_WITHIN, "after {:?}", ended.elapsed());
}
