//! Writers: what an invalidation costs them while Redis is away, and reads that they overtake.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use cache::{Cached, Class, Value, class::Policy};
use futures_util::FutureExt;

use super::rig::{ABSENT_TTL, Backend, Process, TTL, key, organization};
use crate::support::{redis::Redis, redis_cluster::RedisCluster};

const WRITES: usize = 60;

/// At most one wait of 50 ms, and what a busy machine adds.
async fn writes_cost_little(process: &Process, tenant: u128, state: &str) {
    let mut slowest = Duration::ZERO;
    let mut waited = 0;
    for number in 0..WRITES {
        let written = key(tenant, &number.to_string());
        let asked = Instant::now();
        process.cache.invalidate(&[written]).await;
        let took = asked.elapsed();
        slowest = slowest.max(took);
        waited += usize::from(took > Duration::from_millis(25));
        assert_eq!(process.get(written, "new").await, "new", "{state}");
    }
    assert!(slowest < Duration::from_millis(150), "{state}: {slowest:?}");
    assert!(waited <= 5, "{state}: {waited} of {WRITES} waited");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_or_dead_redis_costs_a_writer_at_most_50_ms_and_then_nothing() {
    let mut redis = Redis::start().await;
    let process = Process::start(&Backend::at(&redis.url())).await;
    redis.hang();
    writes_cost_little(&process, 1, "hung").await;
    redis.wake();
    crate::support::eventually("Redis", || async { process.tiers.is_coherent().then_some(()) }).await;
    redis.kill();
    writes_cost_little(&process, 1, "dead").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_a_hung_node_of_a_cluster() {
    let cluster = RedisCluster::start().await;
    let backend = Backend::Cluster(Box::new(cluster));
    let process = Process::start(&backend).await;
    let Backend::Cluster(mut cluster) = backend else {
        unreachable!()
    };
    let primary = cluster.primary_of(&format!("{{{}}}", organization(1)));
    cluster.hang(primary);
    writes_cost_little(&process, 1, "the node's own keys").await;
}

/// A value that something happens to while it is being kept.
#[derive(Clone)]
struct Eventful(String);

type Happening = Box<dyn FnOnce() + Send>;
static NEXT: Mutex<Option<Happening>> = Mutex::new(None);

impl Value for Eventful {
    const SCHEMA: u8 = 1;

    fn weight(&self) -> usize {
        let next = NEXT.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(happening) = next {
            happening();
        }
        self.0.len()
    }

    fn encode(&self) -> Vec<u8> {
        self.0.clone().into_bytes()
    }

    fn decode(bytes: &Bytes) -> Option<Self> {
        String::from_utf8(bytes.to_vec()).ok().map(Self)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_from_redis_while_it_is_written_over_is_not_kept() {
    let backend = Backend::single().await;
    let (one, two) = (Process::start(&backend).await, Process::start(&backend).await);
    let policy = Policy {
        ttl: TTL,
        absent_ttl: ABSENT_TTL,
        memory_bytes: 1 << 20,
        largest: 4096,
    };
    let cache = |process: &Process| Cached::<Eventful, &'static str>::new(&process.tiers, Class::Profile, policy);
    let (first, second) = (cache(&one), cache(&two));
    let wanted = key(1, "race");
    let get = async |cache: &Cached<Eventful, &'static str>, source: &str| {
        let source = Eventful(source.to_owned());
        let found = cache.get_or_load(wanted, || async move { Ok(Some(source)) }).await;
        found.unwrap().unwrap().0
    };
    assert_eq!(get(&first, "old").await, "old");
    one.flush().await;
    let (writer, rest) = (second.clone(), Arc::new(Mutex::new(None)));
    let unfinished = Arc::clone(&rest);
    *NEXT.lock().unwrap() = Some(Box::new(move || {
        let mut forgetting = async move { writer.invalidate(&[wanted]).await }.boxed();
        // What it does at once it has done when it has been polled.
        if (&mut forgetting).now_or_never().is_none() {
            *unfinished.lock().unwrap() = Some(forgetting);
        }
    }));
    assert_eq!(
        get(&second, "not asked").await,
        "old",
        "who asked before the write may see it"
    );
    assert!(NEXT.lock().unwrap().is_none(), "the write came between");
    let rest = rest.lock().unwrap().take();
    if let Some(rest) = rest {
        rest.await;
    }
    assert_eq!(get(&second, "new").await, "new");
}
