//! Who can write to Redis gains nothing by it.

use std::process::Command;

use cache::redis::Redis as Client;
use configuration::RedisMode;

use super::rig::{Backend, Process, key};
use crate::support::redis::{Redis, TlsRedis};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_put_in_the_place_of_another_is_a_miss_and_none_can_be_read() {
    let redis = Redis::start().await;
    let backend = Backend::at(&redis.url());
    let one = Process::start(&backend).await;
    assert_eq!(one.get(key(1, "mine"), "member of mine").await, "member of mine");
    assert_eq!(one.get(key(2, "theirs"), "owner of theirs").await, "owner of theirs");
    one.flush().await;
    let entries = redis.run(&["--scan", "--pattern", "maple:*:profile.*"]);
    let entries: Vec<&str> = entries.lines().collect();
    assert_eq!(entries.len(), 2, "{entries:?}");
    for entry in &entries {
        let content = Command::new("redis-cli")
            .args(["-u", &redis.url(), "--raw", "get", entry])
            .output()
            .unwrap()
            .stdout;
        assert!(
            !content.windows(4).any(|window| window == b"mine" || window == b"thei"),
            "readable"
        );
    }
    let swap = "local a = redis.call('GET', KEYS[1]) local b = redis.call('GET', KEYS[2]) \
        redis.call('SET', KEYS[1], b) redis.call('SET', KEYS[2], a)";
    redis.run(&["eval", swap, "2", entries[0], entries[1]]);
    let two = Process::start(&backend).await;
    assert_eq!(two.get(key(1, "mine"), "from the source").await, "from the source");
    assert_eq!(two.get(key(2, "theirs"), "from the source").await, "from the source");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_over_tls_is_believed_by_its_authority_alone() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let redis = TlsRedis::start().await;
    let url = redis.url().into();
    let trusting = Client::trusting(&url, RedisMode::Single, Some(redis.authority())).unwrap();
    trusting.ping().await.unwrap();
    let one = Process::with(Some(trusting)).await;
    let other = Client::trusting(&url, RedisMode::Single, Some(redis.authority())).unwrap();
    let two = Process::with(Some(other)).await;
    assert_eq!(one.get(key(1, "a"), "shared").await, "shared");
    one.flush().await;
    assert_eq!(two.get(key(1, "a"), "not asked").await, "shared");

    let strangers = TlsRedis::start().await;
    let mistrusting = Client::trusting(&url, RedisMode::Single, Some(strangers.authority())).unwrap();
    assert!(mistrusting.ping().await.is_err());
    let by_the_system = Client::new(&url, RedisMode::Single).unwrap();
    assert!(by_the_system.ping().await.is_err());
    let in_the_clear = Client::new(&redis.url().replace("rediss", "redis").into(), RedisMode::Single).unwrap();
    assert!(in_the_clear.ping().await.is_err());
}
