//! Readiness: whether the service may be sent requests.
//!
//! Asked again and again at start; once all holds it holds for good, whatever a dependency does: a blip of the database
//! that emptied the load balancer would turn a second of errors into an outage.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, SetOnce};

use store::{Database, migrations};

/// While starting, one look at the migrations serves all callers for this long.
const FRESH: Duration = Duration::from_millis(500);
/// A look that takes longer has found nothing. Below the 3 s that callers are promised.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// The conditions, by the names that the deployment strategy gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a condition with a name of its own"
)]
pub struct Conditions {
    pub application_started: bool,
    /// Every migration of this binary is applied, with the same contents. Newer ones are fine.
    pub database_migrations: bool,
    /// Done, or given up.
    pub cache_warmup: bool,
    pub draining: bool,
}

impl Conditions {
    /// What is still waited for, or `draining`.
    pub fn pending(self) -> Vec<&'static str> {
        [
            (!self.application_started, "application_started"),
            (!self.database_migrations, "database_migrations"),
            (!self.cache_warmup, "cache_warmup"),
            (self.draining, "draining"),
        ]
        .into_iter()
        .filter_map(|(pending, name)| pending.then_some(name))
        .collect()
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Readiness(Arc<ReadinessInner>);

struct ReadinessInner {
    database: Database,
    started: SetOnce<()>,
    migrated: AtomicBool,
    warm: AtomicBool,
    draining: AtomicBool,
    looked: Mutex<Option<Instant>>,
}

impl Readiness {
    pub fn new(database: Database) -> Self {
        Self(Arc::new(ReadinessInner {
            database,
            started: SetOnce::new(),
            migrated: AtomicBool::new(false),
            warm: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            looked: Mutex::default(),
        }))
    }

    /// Everything that `start` does is done.
    pub fn note_started(&self) {
        // Told more than once it stays so.
        let _ = self.0.started.set(());
    }

    /// Waits until the database is there, with its tables.
    pub async fn started(&self) {
        self.0.started.wait().await;
    }

    /// Caches are filled, or it was given up.
    pub fn note_warm(&self) {
        self.0.warm.store(true, Ordering::Relaxed);
    }

    /// From now on the load balancer is told to send nobody.
    pub fn start_draining(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Where things stand, within 3 s.
    pub async fn conditions(&self) -> Conditions {
        let inner = &self.0;
        let draining = inner.draining.load(Ordering::Relaxed);
        Conditions {
            application_started: inner.started.initialized(),
            // A process that is leaving asks the database nothing.
            database_migrations: inner.migrated.load(Ordering::Relaxed) || (!draining && self.look().await),
            cache_warmup: inner.warm.load(Ordering::Relaxed),
            draining,
        }
    }

    async fn look(&self) -> bool {
        let inner = &self.0;
        let look = async {
            let mut looked = inner.looked.lock().await;
            if looked.is_none_or(|at| at.elapsed() >= FRESH) {
                let pending = migrations::pending(&inner.database).await;
                if pending.is_ok_and(|pending| pending.is_empty()) {
                    inner.migrated.store(true, Ordering::Relaxed);
                }
                *looked = Some(Instant::now());
            }
        };
        let _ = tokio::time::timeout(LOOK_LIMIT, look).await;
        inner.migrated.load(Ordering::Relaxed)
    }
}
