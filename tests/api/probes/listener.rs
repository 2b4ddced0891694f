//! The operations listener: what it serves, and that it serves while the rest does not.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use http::Method;
use serde_json::json;

use super::operations;
use crate::support::{
    Answer, Client, TestApp,
    accounts::{Person, registration},
    app::OPS_TOKEN,
    database::TestDatabase,
    process::Process,
};

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
