//! A cache as a process has it: two in one test are two processes as far as memory goes.

use std::{
    fmt,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use cache::{Cached, Class, Key, Tiers, Value, channel, class::Policy, key::KeyBuilder, redis::Redis as Client};
use configuration::RedisMode;
use crypto::seal::Sealer;
use domain::{clock::Clock, ids::OrganizationId};
use secrecy::SecretString;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::support::{eventually, redis::Redis, redis_cluster::RedisCluster};

pub(super) const TTL: Duration = Duration::from_secs(10);
pub(super) const ABSENT_TTL: Duration = Duration::from_millis(500);
/// What others may have changed is believed for so long while they cannot be heard.
pub(super) const LOCAL_TTL: Duration = Duration::from_secs(4);
pub(super) const SLOW: Duration = Duration::from_millis(300);

pub(super) enum Backend {
    None,
    Single(
        String,
        #[expect(dead_code, reason = "dropping it ends the server")] Option<Redis>,
    ),
    Cluster(Box<RedisCluster>),
}

impl Backend {
    pub(super) async fn single() -> Self {
        let redis = Redis::start().await;
        Self::Single(redis.url(), Some(redis))
    }

    pub(super) fn at(url: &str) -> Self {
        Self::Single(url.to_owned(), None)
    }

    pub(super) async fn cluster() -> Self {
        Self::Cluster(Box::new(RedisCluster::start().await))
    }

    fn client(&self) -> Option<Client> {
        let (url, mode) = match self {
            Self::None => return None,
            Self::Single(url, _) => (url.clone(), RedisMode::Single),
            Self::Cluster(cluster) => (cluster.url(), RedisMode::Cluster),
        };
        Some(Client::new(&url.into(), mode).unwrap())
    }

    /// Turns the form of every value there is into another.
    pub(super) fn damage_everything(&self) {
        let Self::Single(url, _) = self else {
            panic!("one server")
        };
        let script =
            "for _, key in ipairs(redis.call('KEYS', 'maple:*:profile.*')) do redis.call('SETRANGE', key, 1, 'X') end";
        let done = Command::new("redis-cli")
            .args(["-u", url, "EVAL", script, "0"])
            .status()
            .unwrap();
        assert!(done.success());
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no Redis",
            Self::Single(..) => "one Redis",
            Self::Cluster(_) => "a cluster",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text(pub(super) String);

pub(super) fn text(text: &str) -> Text {
    Text(text.to_owned())
}

impl Value for Text {
    const SCHEMA: u8 = 1;

    fn weight(&self) -> usize {
        self.0.len()
    }

    fn encode(&self) -> Vec<u8> {
        self.0.clone().into_bytes()
    }

    fn decode(bytes: &Bytes) -> Option<Self> {
        String::from_utf8(bytes.to_vec()).ok().map(Self)
    }
}

pub(super) fn organization(number: u128) -> OrganizationId {
    OrganizationId(Uuid::from_u128(number))
}

pub(super) fn key(tenant: u128, name: &str) -> Key {
    KeyBuilder::new(Class::Profile, Text::SCHEMA, organization(tenant).into())
        .field(name)
        .build()
}

/// One secret for all processes.
fn sealer() -> Sealer {
    Sealer::new("tests", &[SecretString::from("s".repeat(32))]).unwrap()
}

pub(super) struct Process {
    pub(super) cache: Cached<Text, &'static str>,
    pub(super) tiers: Tiers,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Process {
    pub(super) async fn start(backend: &Backend) -> Self {
        Self::with(backend.client()).await
    }

    /// Where the channel or Redis may not be in order: waits for nothing.
    pub(super) async fn start_deaf(backend: &Backend) -> Self {
        let process = Self::make(backend.client(), true);
        tokio::time::sleep(SLOW).await;
        process
    }

    pub(super) async fn with(client: Option<Client>) -> Self {
        let process = Self::make(client.clone(), true);
        if client.is_some() {
            eventually("the channel", || async { process.tiers.is_coherent().then_some(()) }).await;
        }
        process
    }

    /// Where messages of others do not arrive, although Redis is there: `with` is one that shares with it.
    pub(super) async fn start_without_messages(backend: &Backend, with: &Self) -> Self {
        let process = Self::make(backend.client(), false);
        let number = AtomicU64::new(0);
        eventually("Redis", || async {
            let probe = key(9, &format!("probe {}", number.fetch_add(1, Ordering::Relaxed)));
            with.get(probe, "shared").await;
            with.flush().await;
            (process.get(probe, "own").await == "shared").then_some(())
        })
        .await;
        process
    }

    fn make(client: Option<Client>, listens: bool) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let tiers = Tiers::new(
            client.clone(),
            sealer(),
            LOCAL_TTL,
            Clock::system(),
            rand::random(),
            tasks.clone(),
        );
        let policy = Policy {
            ttl: TTL,
            absent_ttl: ABSENT_TTL,
            memory_bytes: 1 << 20,
            largest: 4096,
        };
        let process = Self {
            cache: Cached::new(&tiers, Class::Profile, policy),
            tiers: tiers.clone(),
            tasks,
            stop: stop.clone(),
        };
        if let Some(client) = client {
            let until = stop.clone();
            tokio::spawn(async move { client.watch(until).await });
            if listens {
                tokio::spawn(channel::listen(tiers.clone(), stop.clone()));
            }
            tokio::spawn(channel::heartbeat(tiers, rand::random, stop));
        }
        process
    }

    pub(super) async fn get(&self, key: Key, source: &str) -> String {
        let source = text(source);
        let load = || async move { Ok(Some(source)) };
        self.cache.get_or_load(key, load).await.unwrap().unwrap().0
    }

    /// Waits for what is done after the answers.
    pub(super) async fn flush(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
