//! Gauges that somebody has to look at: pools, the runtime, the process, people. Once a second; what asks the database is
//! rarer.

use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, counter, gauge};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use cache::Tiers;
use people::activity::ActivityTracker;
use store::Database;
use telemetry::{logging, metrics as names};

/// How often samples are folded into buckets, too: between two folds they take memory, at high rates quite some.
const INTERVAL: Duration = Duration::from_secs(1);
/// People come and go slowly, and counting them costs the database something.
const PEOPLE_INTERVAL: Duration = Duration::from_secs(30);

/// What is looked at.
pub(super) struct Observed {
    /// Role and handle.
    pub(super) databases: Vec<(&'static str, Database)>,
    pub(super) tiers: Tiers,
    pub(super) activity: ActivityTracker,
    pub(super) prometheus: PrometheusHandle,
}

struct PoolGauges {
    database: Database,
    in_use: Gauge,
    idle: Gauge,
    max: Gauge,
    waiting: Gauge,
    up: Gauge,
    writable: Gauge,
    breaker: Gauge,
    outages: Counter,
    was_down: bool,
}

impl PoolGauges {
    fn new(role: &'static str, database: Database) -> Self {
        let connections =
            |state: &'static str| gauge!(names::DATABASE_CONNECTIONS, "database" => role, "state" => state);
        Self {
            database,
            in_use: connections("in_use"),
            idle: connections("idle"),
            max: connections("max"),
            waiting: gauge!(names::DATABASE_WAITING, "database" => role),
            up: gauge!(names::DATABASE_UP, "database" => role),
            writable: gauge!(names::DATABASE_WRITABLE, "database" => role),
            outages: counter!(names::DATABASE_OUTAGES, "database" => role),
            was_down: false,
            breaker: gauge!(names::BREAKER_OPEN, "dependency" => format!("database_{role}")),
        }
    }

    fn set(&mut self) {
        let pool = self.database.connections();
        let down = self.database.is_down();
        self.in_use.set(pool.in_use as f64);
        self.idle.set(pool.idle as f64);
        self.max.set(pool.max as f64);
        self.waiting.set(pool.waiting as f64);
        self.up.set(f64::from(u8::from(!down)));
        self.breaker.set(f64::from(u8::from(down)));
        self.writable
            .set(f64::from(u8::from(!down && !self.database.is_read_only())));
        // Seen once a second, which is often enough to tell one that comes and goes from one that is away.
        if down && !std::mem::replace(&mut self.was_down, down) {
            self.outages.increment(1);
        }
        self.was_down = down;
    }
}

/// Looks until `stop`.
pub(super) async fn run(observed: Observed, stop: CancellationToken) {
    let mut pools: Vec<_> = observed
        .databases
        .into_iter()
        .map(|(role, database)| PoolGauges::new(role, database))
        .collect();
    let process = metrics_process::Collector::default();
    let mut runtime = RuntimeGauges::new();
    let mut people_due = tokio::time::Instant::now();
    loop {
        observed.prometheus.run_upkeep();
        process.collect();
        runtime.set();
        for pool in &mut pools {
            pool.set();
        }
        // As a side effect each class sets its gauges.
        observed.tiers.stats();
        if let Some(redis) = observed.tiers.redis() {
            gauge!(names::CACHE_CHANNEL_UP).set(f64::from(u8::from(observed.tiers.is_subscribed())));
            gauge!(names::REDIS_WRITABLE).set(f64::from(u8::from(!redis.refuses_writes())));
            gauge!(names::BREAKER_OPEN, "dependency" => "redis").set(f64::from(u8::from(!redis.is_whole())));
            let (in_use, idle, max, waiting) = redis.connections();
            for (state, value) in [("in_use", in_use), ("idle", idle), ("max", max), ("waiting", waiting)] {
                gauge!(names::REDIS_CONNECTIONS, "state" => state).set(value as f64);
            }
        }
        if let Some(log) = logging::control() {
            log.restore_if_over();
        }
        counter!(names::LOG_LINES_LOST).absolute(logging::lost_lines());
        if tokio::time::Instant::now() >= people_due {
            people_due = tokio::time::Instant::now() + PEOPLE_INTERVAL;
            // Not known for the moment is what it was before.
            let _ = stop.run_until_cancelled(observed.activity.publish()).await;
        }
        if tokio::time::timeout(INTERVAL, stop.cancelled()).await.is_ok() {
            return;
        }
    }
}

/// Tokio's own figures about the runtime that serves requests.
struct RuntimeGauges {
    handle: Handle,
    workers: Gauge,
    tasks: Gauge,
    queue: Gauge,
    busy: Gauge,
    /// When it was last looked at, and how long all workers together had been busy then.
    last: (Instant, Duration),
}

impl RuntimeGauges {
    fn new() -> Self {
        Self {
            handle: Handle::current(),
            workers: gauge!(names::RUNTIME_WORKERS),
            tasks: gauge!(names::RUNTIME_TASKS),
            queue: gauge!(names::RUNTIME_QUEUE),
            busy: gauge!(names::RUNTIME_BUSY),
            last: (Instant::now(), Duration::ZERO),
        }
    }

    fn set(&mut self) {
        let runtime = self.handle.metrics();
        self.workers.set(runtime.num_workers() as f64);
        self.tasks.set(runtime.num_alive_tasks() as f64);
        self.queue.set(runtime.global_queue_depth() as f64);
        let busy: Duration = (0..runtime.num_workers())
            .map(|worker| runtime.worker_total_busy_duration(worker))
            .sum();
        let now = Instant::now();
        let possible = now.duration_since(self.last.0).as_secs_f64() * runtime.num_workers() as f64;
        let share = busy.saturating_sub(self.last.1).as_secs_f64() / possible.max(f64::EPSILON);
        self.busy.set(share.clamp(0.0, 1.0));
        self.last = (now, busy);
    }
}
