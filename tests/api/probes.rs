//! Health, readiness, the operations listener and what they cost.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use http::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, Client, Reply, TestApp,
    accounts::{Person, register, registration},
    app::OPS_TOKEN,
    database::TestDatabase,
    eventually,
    postgres::Postgres,
    process::Process,
    redis::Redis,
};

fn operations(app: &TestApp) -> Client {
    Client::new(app.server.ops_address().expect("an operations listener"))
}

fn check<'a>(health: &'a Value, name: &str) -> &'a Value {
    &health["checks"][name]
}

#[tokio::test]
async fn health_tells_each_check_and_strangers_nothing_but_statuses() {
    let app = TestApp::start().await;
    let answer = app.client.get("/api/health").await;
    assert_eq!(answer.header("content-type"), "application/health+json");
    let body = answer.ok(200);
    for name in ["database_connection", "redis_connection", "external_services"] {
        let check = check(&body, name);
        assert!(check["latency_ms"].is_number() && check["age_ms"].is_u64(), "{body}");
    }
    let time = check(&body, "database_connection")["time"].as_str().unwrap();
    assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok(), "{time}");
    // One of the two configured providers refuses connections: a warning, and the service goes on.
    assert_eq!(check(&body, "external_services")["status"], "warn");
    assert_eq!(body["status"], "warn");
    assert!(
        !answer.text().contains("127.0.0.1") && !answer.text().contains("refusing"),
        "{body}"
    );

    let full = operations(&app).get("/api/health").await.ok(200);
    let providers = &check(&full, "external_services")["components"];
    assert_eq!(providers["fake"]["status"], "pass");
    assert_eq!(providers["refusing"]["status"], "warn");
    assert!(
        providers["refusing"]["detail"]
            .as_str()
            .unwrap()
            .contains("could not be reached"),
        "{full}"
    );
    let primary = &check(&full, "database_connection")["components"]["primary"];
    assert!(
        primary["detail"].as_str().unwrap().contains("connections in use"),
        "{full}"
    );
    app.client
        .get("/api/health?probe=readiness")
        .await
        .problem(422, "invalid_fields");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_probes_costs_one_check_and_no_tokens() {
    let app = TestApp::start().await;
    let client = app.client.clone();
    let probes = (0..1_000).map(|_| {
        let client = client.clone();
        async move { client.get("/api/health").await.status.as_u16() }
    });
    let statuses: BTreeSet<u16> = futures_util::future::join_all(probes).await.into_iter().collect();
    assert_eq!(statuses, BTreeSet::from([200]));
    let calls = app.upstream.calls();
    assert!(calls.len() <= 2, "{} calls to the provider", calls.len());
    assert!(calls.iter().all(|call| call.path.ends_with("/models")), "{calls:?}");
}

#[tokio::test]
async fn a_provider_is_judged_by_what_its_calls_came_to() {
    let app = TestApp::start().await;
    let program = register(&app).await.program().await;
    let ask = json!({"model": "maple-chat", "messages": []});
    for _ in 0..3 {
        app.upstream.reply(Reply::json(500, &json!({})));
        program
            .post("/v1/chat/completions", &ask)
            .await
            .openai_error(502, "provider_error");
    }
    let health = operations(&app).get("/api/health").await.ok(200);
    let provider = &check(&health, "external_services")["components"]["fake"];
    assert_eq!(provider["status"], "warn");
    assert_eq!(provider["detail"], "0 calls succeeded and 3 failed in the last 30 s");
    for _ in 0..4 {
        program.post("/v1/chat/completions", &ask).await.ok(200);
    }
    eventually("health to see better calls", || async {
        let health = operations(&app).get("/api/health").await.ok(200);
        let provider = &check(&health, "external_services")["components"]["fake"];
        (provider["status"] == "pass").then_some(())
    })
    .await;
    // Nobody asked the provider anything but what callers asked.
    assert!(
        app.upstream
            .calls()
            .iter()
            .all(|call| call.path.ends_with("/chat/completions"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_hanging_is_told_in_time_and_liveness_does_not_care() {
    let postgres = Postgres::start().await;
    let app = TestApp::start_on(&postgres.url(), |_| {}).await;
    app.client.get("/api/ready").await.ok(200);
    // The provider takes connections and says nothing.
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    for _ in 0..50 {
        app.upstream.reply(Reply::json(200, &json!({})).gate(&gate));
    }
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    postgres.hang();
    for client in [app.client.clone(), operations(&app)] {
        let asked = Instant::now();
        let answer = client.get("/api/health").await;
        assert!(asked.elapsed() < Duration::from_secs(5), "after {:?}", asked.elapsed());
        assert_eq!(answer.status, 503);
        assert_eq!(check(&answer.json(), "database_connection")["status"], "fail");
        let asked = Instant::now();
        client.get("/api/health?probe=liveness").await.ok(200);
        // Once ready, a dependency's trouble does not take the process out of the load balancer.
        client.get("/api/ready").await.ok(200);
        assert!(asked.elapsed() < Duration::from_secs(1), "after {:?}", asked.elapsed());
    }
    postgres.wake();
    eventually("health to notice", || async {
        (app.client.get("/api/health").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_waits_for_the_database_and_liveness_does_not() {
    let mut postgres = Postgres::start().await;
    postgres.kill();
    let app = TestApp::start_on(&postgres.url(), |config| {
        config.database.acquire_timeout = Duration::from_millis(200);
    })
    .await;
    let asked = Instant::now();
    let answer = app.client.get("/api/ready").await;
    assert!(asked.elapsed() < Duration::from_secs(3), "after {:?}", asked.elapsed());
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.json()["pending"],
        json!(["application_started", "database_migrations", "cache_warmup"])
    );
    app.client.get("/api/health?probe=liveness").await.ok(200);
    postgres.bring_back().await;
    eventually("readiness", || async {
        (app.client.get("/api/ready").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_database_that_never_comes_ends_the_process() {
    let app = TestApp::start_on("postgres://nobody@127.0.0.1:1/none", |config| {
        config.database.start_timeout = Duration::from_millis(100);
    })
    .await;
    let broken = app.server.lifecycle().broken.clone();
    tokio::time::timeout(Duration::from_secs(5), broken.cancelled())
        .await
        .expect("it gives up");
    let failure = app.server.failure();
    app.stop().await;
    let error = failure.take().expect("a reason");
    assert!(
        error.to_string().contains("could not be reached within 100ms"),
        "{error}"
    );
}

#[tokio::test]
async fn operations_have_a_listener_of_their_own() {
    let app = TestApp::start_with(|config| config.server.public_metrics = false).await;
    app.client.get("/metrics").await.problem(404, "not_found");
    let operations = operations(&app);
    let metrics = operations.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.text().contains("maple_build_info"), "{}", metrics.text());
    operations.get("/api/ready").await.ok(200);
    let level = json!({"level": "debug", "for": "1m"});
    for token in ["", "wrong"] {
        let refused = operations
            .request(Method::PUT, "/log-level")
            .bearer_auth(token)
            .json(&level);
        Answer::of(refused).await.problem(401, "unauthenticated");
    }
    // The tests' process has no log of its own; tests/cli.rs changes a real one.
    let asked = operations
        .request(Method::PUT, "/log-level")
        .bearer_auth(OPS_TOKEN)
        .json(&level);
    Answer::of(asked).await.problem(404, "not_found");
    operations.get("/api/users/me").await.problem(404, "not_found");
}

/// Names with their labels, without values.
fn series(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()))
        .collect()
}

/// In a process of its own, so that every series there is comes from here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn junk_makes_no_series() {
    let database = TestDatabase::create().await;
    let process = Process::start(&[
        ("DATABASE_URL", &database.url),
        ("MAPLE__SERVER__OPS_TOKEN", OPS_TOKEN),
        (
            "MAPLE__AUTH__SIGNING_KEYS__K",
            "a-signing-key-for-junk-0123456789abcdefghijk",
        ),
        ("MAPLE__AUTH__ACTIVE_KEY", "k"),
        ("MAPLE__LOG__LEVEL", "warn"),
    ]);
    let (client, operations) = process.ready().await;
    let registered = client
        .post("/api/auth/register", &registration("junk@maple.test"))
        .await
        .ok(201);
    let program = Person::of(&client, &registered).program().await;
    let junk = |number: usize| {
        let (client, program) = (&client, &program);
        async move {
            let method = Method::from_bytes(format!("JUNK{number}").as_bytes()).unwrap();
            let id = format!("junk-{number}");
            let model = json!({"model": id, "messages": []});
            let [page, conversation, below] =
                ["/junk", "/api/conversations", "/v1"].map(|prefix| format!("{prefix}/{number}?label={number}"));
            futures_util::join!(
                client.get(&page),
                program.post("/v1/chat/completions", &model),
                Answer::of(client.request(method, &page)),
                client.get(&conversation),
                program.get(&below),
            );
        }
    };
    // One of each kind, at the rate of the rest; and a second and more for what is measured now and again.
    futures_util::future::join_all((0..50).map(junk)).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let first = series(&operations.get("/metrics").await.text());
    let mut number = 50;
    while number < 2_050 {
        futures_util::future::join_all((number..number + 50).map(junk)).await;
        number += 50;
    }
    let grown = series(&operations.get("/metrics").await.text());
    let new: Vec<&String> = grown.difference(&first).collect();
    assert!(new.is_empty(), "{new:#?}");
    // Everything that no route takes is one route, with a count for each of two statuses.
    let counts = grown
        .iter()
        .filter(|line| line.contains("_count{") && line.contains("http_route=\"other\""));
    assert!((1..=2).contains(&counts.count()));
}

/// What `/api/ready` waits for on a database whose record of migrations was changed so.
async fn pending_after(statement: &str) -> (TestDatabase, TestApp, Value) {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()))
        .execute(&mut connection)
        .await
        .unwrap();
    let app = TestApp::start_on(&database.url, |_| {}).await;
    let pending = eventually("the start", || async {
        let pending = app.client.get("/api/ready").await.json()["pending"].clone();
        let starting = pending
            .as_array()
            .is_some_and(|names| names.contains(&json!("cache_warmup")));
        (!starting).then_some(pending)
    })
    .await;
    (database, app, pending)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_with_other_contents_is_not_readiness() {
    let changed = "UPDATE _sqlx_migrations SET checksum = '\\x00' WHERE version = 3";
    let (database, app, pending) = pending_after(changed).await;
    assert_eq!(pending, json!(["database_migrations"]));
    assert_eq!(app.client.get("/api/ready").await.status, 503);
    // A release whose migration is not applied yet is the same.
    let missing = "DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)";
    let (_second_database, second, pending) = pending_after(missing).await;
    assert_eq!(pending, json!(["database_migrations"]));
    assert_eq!(second.client.get("/api/ready").await.status, 503);
    // Put right, it is noticed.
    let fine = TestDatabase::create().await;
    let original: Vec<u8> = sqlx::query_scalar("SELECT checksum FROM _sqlx_migrations WHERE version = 3")
        .fetch_one(&mut fine.connection().await)
        .await
        .unwrap();
    sqlx::query("UPDATE _sqlx_migrations SET checksum = $1 WHERE version = 3")
        .bind(original)
        .execute(&mut database.connection().await)
        .await
        .unwrap();
    eventually("readiness", || async {
        (app.client.get("/api/ready").await.status == 200).then_some(())
    })
    .await;
}

/// As for the old version during a blue-green switch, which may restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newer_migrations_are_fine() {
    let newer = "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time)
         VALUES (9999, 'of a later release', now(), true, '\\x01', 1)";
    let (_database, app, _) = pending_after(newer).await;
    app.client.get("/api/ready").await.ok(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_up_that_does_not_end_is_given_up_with_a_warning() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    let mut lock = sqlx::Connection::begin(&mut connection).await.unwrap();
    sqlx::raw_sql("LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let process = Process::start(&[
        ("MAPLE_ENV", "staging"),
        ("DATABASE_URL", &database.url),
        ("MAPLE__SERVER__HOST", "127.0.0.1"),
        ("MAPLE__SERVER__PUBLIC_URL", "https://maple.test"),
        ("MAPLE__SERVER__OPS_TOKEN", OPS_TOKEN),
        ("MAPLE__SERVER__WARMUP_TIMEOUT", "700ms"),
        (
            "MAPLE__AUTH__SIGNING_KEYS__K",
            "a-signing-key-for-a-start-0123456789abcdefghi",
        ),
        ("MAPLE__AUTH__ACTIVE_KEY", "k"),
        ("MAPLE__LOG__FILE", ""),
    ]);
    let warning = process.line("warm-up took too long; going on without").await;
    assert_eq!(warning["level"], "WARN");
    process.ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_away_is_a_warning_in_time() {
    let mut redis = Redis::start().await;
    let url = redis.url();
    let app = TestApp::start_with(|config| {
        config.redis.url = Some(url.into());
        config.providers.remove("refusing");
        config.models.retain(|model| model.provider != "refusing");
    })
    .await;
    let seen = |status: &'static str| {
        let app = &app;
        async move {
            eventually("health to notice", || async {
                let asked = Instant::now();
                let health = app.client.get("/api/health").await.ok(200);
                assert!(asked.elapsed() < Duration::from_secs(5), "after {:?}", asked.elapsed());
                (check(&health, "redis_connection")["status"] == status).then_some(health)
            })
            .await
        }
    };
    assert_eq!(seen("pass").await["status"], "pass");
    redis.hang();
    assert_eq!(seen("warn").await["status"], "warn");
    redis.wake();
    seen("pass").await;
    redis.kill();
    assert_eq!(seen("warn").await["status"], "warn");
    redis.bring_back().await;
    seen("pass").await;
}

#[test]
fn a_wedged_runtime_is_noticed_by_the_operations_listener() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
    };
    let (serving, watching) = (runtime(), runtime());
    let app = serving.block_on(TestApp::start());
    let address = app.server.ops_address().unwrap();
    let liveness = || async move {
        Client::new(address)
            .get("/api/health?probe=liveness")
            .await
            .status
            .as_u16()
    };
    assert_eq!(watching.block_on(liveness()), 200);
    // Every thread that serves requests is stuck, as in a dead lock.
    for _ in 0..4 {
        serving.spawn(async { std::thread::sleep(Duration::from_secs(15)) });
    }
    watching.block_on(async {
        let stuck = Instant::now();
        while liveness().await == 200 {
            assert!(stuck.elapsed() < Duration::from_secs(13), "nobody noticed");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert!(
            stuck.elapsed() > Duration::from_secs(8),
            "noticed after {:?}",
            stuck.elapsed()
        );
    });
    serving.shutdown_background();
}
