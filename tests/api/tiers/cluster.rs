//! Six servers under load: one primary killed, another hung, then a failover. Nobody's request fails, healthy shards stay
//! fast, and what was on the others is remembered again soon.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cache::Key;
use configuration::RedisMode;

use super::rig::{Process, key, text};
use crate::support::redis_cluster::RedisCluster;

/// On shards whose servers are well nine reads in ten take less: as long as a read waits for a server that does not answer. How much
/// less is for a bench to say.
const HEALTHY_P90: Duration = Duration::from_millis(50);
/// Contractual: until a shard that lost its primary gives hits again.
const HITS_RETURN: Duration = Duration::from_secs(10);

/// One tenant on each of the three shards.
fn tenants(cluster: &RedisCluster) -> Vec<(u128, usize)> {
    let mut found: Vec<(u128, usize)> = Vec::new();
    for tenant in 1.. {
        let name = format!("{{{}}}", super::rig::organization(tenant));
        let primary = cluster.primary_of(&name);
        if found.iter().all(|(_, known)| *known != primary) {
            found.push((tenant, primary));
        }
        if found.len() == 3 {
            break;
        }
    }
    found
}

/// Reads keys of one tenant all the time; each key is read twice, the second time through Redis alone.
struct Load {
    stop: Arc<AtomicBool>,
    took: Arc<Mutex<Vec<Duration>>>,
    /// Reads that Redis answered.
    hits: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Load {
    fn start(process: &Arc<Process>, second: &Arc<Process>, tenant: u128) -> Self {
        let (stop, took, hits) = (
            Arc::<AtomicBool>::default(),
            Arc::<Mutex<Vec<Duration>>>::default(),
            Arc::default(),
        );
        let (process, second) = (Arc::clone(process), Arc::clone(second));
        let (stopping, times, counted): (_, _, Arc<AtomicU64>) =
            (Arc::clone(&stop), Arc::clone(&took), Arc::clone(&hits));
        let task = tokio::spawn(async move {
            let mut number = 0_u64;
            while !stopping.load(Ordering::Relaxed) {
                number += 1;
                let wanted: Key = key(tenant, &number.to_string());
                let asked = Instant::now();
                assert_eq!(process.get(wanted, "source").await, "source");
                times.lock().unwrap().push(asked.elapsed());
                // What it stores, it stores after its answer.
                tokio::time::sleep(Duration::from_millis(5)).await;
                let found = second.cache.get_or_load(wanted, || async { Ok(Some(text("source"))) });
                let asked = Instant::now();
                let before = second.cache.fetch_from_redis(&wanted).await;
                counted.fetch_add(u64::from(before.is_some()), Ordering::Relaxed);
                found.await.unwrap();
                times.lock().unwrap().push(asked.elapsed());
            }
        });
        Self { stop, took, hits, task }
    }

    fn clear(&self) {
        self.took.lock().unwrap().clear();
    }

    fn p90(&self) -> Duration {
        let mut took = self.took.lock().unwrap().clone();
        assert!(took.len() > 100, "only {} reads", took.len());
        took.sort();
        took[took.len() * 9 / 10]
    }

    async fn hits_again(&self, since: Instant) {
        let before = self.hits.load(Ordering::Relaxed);
        while self.hits.load(Ordering::Relaxed) < before + 5 {
            assert!(since.elapsed() < HITS_RETURN, "no hits after {:?}", since.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("no request failed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_loses_servers_under_load() {
    let mut cluster = RedisCluster::start().await;
    let shards = tenants(&cluster);
    let client = || cache::redis::Redis::new(&cluster.url().into(), RedisMode::Cluster).unwrap();
    let (one, two) = (Process::with(Some(client())).await, Process::with(Some(client())).await);
    let (one, two) = (Arc::new(one), Arc::new(two));
    let loads: Vec<_> = shards
        .iter()
        .map(|(tenant, _)| Load::start(&one, &two, *tenant))
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    for load in &loads {
        load.hits_again(Instant::now()).await;
        load.clear();
    }

    // Killed.
    cluster.kill(shards[0].1);
    let killed = Instant::now();
    tokio::time::sleep(Duration::from_secs(2)).await;
    loads[0].hits_again(killed).await;
    eprintln!("hits return {:?} after a kill", killed.elapsed());
    for (place, load) in loads.iter().enumerate().skip(1) {
        assert!(
            load.p90() < HEALTHY_P90,
            "kill: healthy shard {place}: {:?}",
            load.p90()
        );
        load.clear();
    }

    // Hung.
    cluster.hang(shards[1].1);
    let hung = Instant::now();
    tokio::time::sleep(Duration::from_secs(2)).await;
    loads[1].hits_again(hung).await;
    eprintln!("hits return {:?} after a hang", hung.elapsed());
    assert!(
        loads[2].p90() < HEALTHY_P90,
        "hang: the healthy shard: {:?}",
        loads[2].p90()
    );
    cluster.wake(shards[1].1);

    // A failover in order.
    loads[2].clear();
    cluster.fail_over(shards[2].1);
    let changed = Instant::now();
    tokio::time::sleep(Duration::from_secs(1)).await;
    loads[2].hits_again(changed).await;
    eprintln!("hits return {:?} after a failover", changed.elapsed());
    for load in loads {
        load.end().await;
    }
}
