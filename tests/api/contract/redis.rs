//! Redis down, hung and away from the start, and a cluster that loses a server: nothing that a request needs is there alone.

use std::time::Duration;

use configuration::RedisMode;
use serde_json::{Value, json};

use super::{NORMAL, World, database::the_ledger_is_exact, writers::Writers};
use crate::support::{TestApp, eventually, postgres::Postgres, redis::Redis, redis_cluster::RedisCluster};

async fn world(postgres: &Postgres, url: String, mode: RedisMode) -> World {
    World::with(postgres, |config| {
        config.redis.mode = mode;
        config.redis.url = Some(url.into());
        // What holds in production: with Redis away it is all that is believed.
        config.auth.lookup_ttl = Duration::from_secs(4);
    })
    .await
}

async fn redis_check(world: &World) -> Value {
    let health = world.operations.get("/api/health").await.ok(200);
    health["checks"]["redis_connection"]["status"].clone()
}

/// Remembered answers are given all the time, whoever remembers them.
async fn answers_are_remembered(world: &World, text: &str) {
    let body = json!({"model": "maple-chat", "seed": 9, "messages": [{"role": "user", "content": text}]});
    for wanted in ["miss", "hit"] {
        let answer = world.known.post("/v1/chat/completions", &body).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-maple-cache")), (200, wanted));
    }
}

async fn everything_goes_on(world: &World, state: &str) {
    world.holds(NORMAL).await;
    assert_eq!(redis_check(world).await, "warn", "{state}");
    answers_are_remembered(world, state).await;
}

async fn is_well_again(world: &World) {
    world.recovers().await;
    eventually("Redis's check", || async {
        (redis_check(world).await == "pass").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_down() {
    let (postgres, mut redis) = (Postgres::start().await, Redis::start().await);
    let world = world(&postgres, redis.url(), RedisMode::Single).await;
    let writers = Writers::start(&world.ada.client);
    tokio::time::sleep(Duration::from_millis(200)).await;
    redis.kill();
    everything_goes_on(&world, "down").await;
    redis.bring_back().await;
    is_well_again(&world).await;
    writers.lost_nothing(&postgres).await;
    the_ledger_is_exact(&world, &postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_hung() {
    let (postgres, redis) = (Postgres::start().await, Redis::start().await);
    let world = world(&postgres, redis.url(), RedisMode::Single).await;
    let writers = Writers::start(&world.ada.client);
    tokio::time::sleep(Duration::from_millis(200)).await;
    redis.hang();
    everything_goes_on(&world, "hung").await;
    redis.wake();
    is_well_again(&world).await;
    writers.lost_nothing(&postgres).await;
    the_ledger_is_exact(&world, &postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_away_at_start() {
    let (postgres, mut redis) = (Postgres::start().await, Redis::start().await);
    redis.kill();
    let world = world(&postgres, redis.url(), RedisMode::Single).await;
    everything_goes_on(&world, "away at start").await;
    redis.bring_back().await;
    is_well_again(&world).await;
    the_ledger_is_exact(&world, &postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_loses_servers() {
    let (postgres, mut cluster) = (Postgres::start().await, RedisCluster::start().await);
    let world = world(&postgres, cluster.url(), RedisMode::Cluster).await;
    let writers = Writers::start(&world.ada.client);
    // The one that all of the organisation's entries are on.
    let shard = format!("{{{}}}", world.ada.organization);
    let primary = cluster.primary_of(&shard);
    cluster.kill(primary);
    for _ in 0..4 {
        assert_eq!(world.deviations(&NORMAL).await, Vec::<String>::new(), "killed");
    }
    answers_are_remembered(&world, "killed").await;
    let successor = eventually("somebody to take over", || {
        let now = cluster.find_primary_of(&shard);
        async move { now.filter(|now| *now != primary) }
    })
    .await;
    is_well_again(&world).await;

    // From its successor nobody is left to take over.
    cluster.hang(successor);
    world.holds(NORMAL).await;
    answers_are_remembered(&world, "hung").await;
    cluster.wake(successor);
    is_well_again(&world).await;
    writers.lost_nothing(&postgres).await;
    the_ledger_is_exact(&world, &postgres).await;

    // What one instance remembers another finds.
    let (_second, other) = world.app.start_second().await;
    shared_by(&world.app, &other, &world).await;
}

async fn shared_by(app: &TestApp, other: &crate::support::Client, world: &World) {
    let key = world.ada.create_key().await.1;
    let body = json!({"model": "maple-chat", "seed": 9, "messages": [{"role": "user", "content": "shared"}]});
    let asked = app.client.with(&key).post("/v1/chat/completions", &body).await;
    assert_eq!(asked.header("x-maple-cache"), "miss");
    let other = other.with(&key);
    eventually("the other instance's hit", || async {
        let answer = other.post("/v1/chat/completions", &body).await;
        (answer.header("x-maple-cache") == "hit").then_some(())
    })
    .await;
}
