//! A cluster of Redis behind TLS: believed by its own authority, and refused by any other, with the reason in the log.

use configuration::RedisMode;
use serde_json::json;

use super::{OPS_TOKEN, staging, start};
use crate::support::{
    Client, TestApp, accounts::register, certificates, database::TestDatabase, eventually, redis_cluster::RedisCluster,
};

async fn redis_check(operations: &Client) -> serde_json::Value {
    let health = operations.with(OPS_TOKEN).get("/api/health").await;
    health.json()["checks"]["redis_connection"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_share_by_a_cluster_over_tls_and_believe_no_stranger_in_its_place() {
    let cluster = RedisCluster::start_with_tls().await;
    let (url, authority) = (cluster.url(), cluster.authority());
    assert!(url.starts_with("rediss://") && url.contains(','), "{url}");
    let app = TestApp::start_with(|config| {
        config.redis.mode = RedisMode::Cluster;
        config.redis.url = Some(url.clone().into());
        config.redis.ca_file = Some(authority);
    })
    .await;
    let (second, other) = app.start_second().await;
    for server in [&app.server, &second] {
        let operations = Client::new(server.ops_address().unwrap());
        eventually("the cluster to be there", || async {
            (redis_check(&operations).await["status"] == "pass").then_some(())
        })
        .await;
    }
    // Written by one, read by the other; people of several organisations are on several servers.
    for _ in 0..4 {
        let key = register(&app).await.create_key().await.1;
        let (one, two) = (app.client.with(&key), other.with(&key));
        let mut number = 0;
        eventually("the other instance's hit", || {
            number += 1;
            let question = json!({"model": "maple-chat", "seed": 9, "messages": [{"role": "user", "content": number.to_string()}]});
            let (one, two) = (&one, &two);
            async move {
                one.post("/v1/chat/completions", &question).await.ok(200);
                let answer = two.post("/v1/chat/completions", &question).await;
                (answer.header("x-maple-cache") == "hit").then_some(())
            }
        })
        .await;
    }

    let strangers = tempfile::tempdir().unwrap();
    certificates::issue_into(strangers.path());
    let database = TestDatabase::create().await;
    let mut variables = staging(&database.url);
    let ca_file = strangers.path().join("ca.pem");
    variables.extend([
        ("REDIS_URL", url),
        ("MAPLE__REDIS__MODE", "cluster".to_owned()),
        ("MAPLE__REDIS__CA_FILE", ca_file.to_str().unwrap().to_owned()),
    ]);
    let process = start(&variables);
    let (client, operations) = process.ready().await;
    let line = eventually("the reason in the log", || async {
        let lines = process.lines();
        let mut of_redis = lines.iter().filter(|line| line.contains("no connection to Redis"));
        of_redis.find(|line| line.contains("invalid peer certificate")).cloned()
    })
    .await;
    assert!(line.contains("\"WARN\""), "{line}");
    client.get("/api/models").await.ok(200);
    // On a busy machine a look may end before the connection is refused.
    eventually("the reason in the check", || async {
        let check = redis_check(&operations).await;
        assert_eq!(check["status"], "warn", "{check}");
        check.to_string().contains("invalid peer certificate").then_some(())
    })
    .await;
    let told = |lines: &[String]| {
        lines
            .iter()
            .filter(|line| line.contains("no connection to Redis") && line.contains("invalid peer certificate"))
            .count()
    };
    assert_eq!(told(&process.lines()), 1, "once, and not at each try");
}
