//! The individual checks.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::Status;
use cache::redis::Redis;
use gateway::usage::Usage;
use provider::registry::Upstream;
use store::{
    Database, StoreError,
    error::Unavailable,
    migrations::indexes,
    replica::{Replica, Unfit},
};
use telemetry::error_chain;

/// A provider without calls is probed again after this long; sooner if it did not answer.
const ASK_AGAIN: Duration = Duration::from_secs(30);
const ASK_AGAIN_SOON: Duration = Duration::from_secs(5);
/// Limit of a free request.
const LIST_LIMIT: Duration = Duration::from_millis(1_500);

/// A component to check.
pub(super) enum Component {
    Primary(Database),
    Replica(Replica),
    Redis(Redis),
    Provider(Arc<Upstream>),
    /// Indexes that an interrupted migration has left in the primary.
    Indexes(Database, Remembered),
    Usage(Box<Usage>),
}

/// The last result and its time: it changes with releases, not with requests.
#[derive(Default)]
pub(super) struct Remembered(Mutex<Option<(Instant, Vec<String>)>>);

/// The last results of free requests to providers. One entry for each configured provider.
#[derive(Default)]
pub(super) struct Listed(Mutex<HashMap<String, (Instant, ListResult)>>);

/// The number of models, or the error.
type ListResult = Result<usize, String>;

impl Component {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Primary(_) => "primary",
            Self::Replica(replica) => replica.role(),
            Self::Redis(_) => "redis",
            Self::Provider(upstream) => upstream.provider.name(),
            Self::Indexes(..) => "indexes",
            Self::Usage(_) => "usage_records",
        }
    }

    /// The status of the service without this component.
    pub(super) fn when_away(&self) -> Status {
        match self {
            Self::Primary(_) => Status::Fail,
            Self::Replica(..) | Self::Redis(_) | Self::Provider(_) | Self::Indexes(..) | Self::Usage(_) => Status::Warn,
        }
    }

    /// Its status, and the details for operators.
    pub(super) async fn check(&self, listed: &Listed) -> (Status, String) {
        match self {
            Self::Primary(database) => self.check_database(database).await,
            Self::Replica(replica) => self.check_replica(replica).await,
            Self::Redis(redis) => match redis.ping().await {
                Ok(()) => match redis.refusal() {
                    None => (Status::Pass, redis.address()),
                    Some(why) => (Status::Warn, format!("{}; it refuses writes: {why}", redis.address())),
                },
                Err(error) => (
                    self.when_away(),
                    format!("{}; {}", redis.address(), error_chain(&error)),
                ),
            },
            Self::Provider(upstream) => self.check_provider(upstream, listed).await,
            Self::Indexes(database, remembered) => remembered.check(database).await,
            Self::Usage(usage) => check_usage(usage),
        }
    }

    async fn check_database(&self, database: &Database) -> (Status, String) {
        let outcome = database.check().await;
        let pool = database.connections();
        let pool = format!(
            "{}; {} connections in use, {} idle, at most {}, {} requests waiting",
            database.address(),
            pool.in_use,
            pool.idle,
            pool.max,
            pool.waiting
        );
        match outcome {
            Ok(()) if database.is_unconfirmed() => (
                Status::Warn,
                format!("{pool}; commits wait for a standby that does not confirm them"),
            ),
            Ok(()) if database.is_read_only() => (Status::Warn, format!("{pool}; it takes no writes")),
            Ok(()) => (Status::Pass, pool),
            // All connections are in use: that is load, and the database is up.
            Err(StoreError::Unavailable(Unavailable::Busy)) => {
                (Status::Warn, format!("{pool}; all connections are busy"))
            }
            Err(error) => (self.when_away(), format!("{pool}; {}", error_chain(&error))),
        }
    }

    /// The primary is asked in place of one that is not fit.
    async fn check_replica(&self, replica: &Replica) -> (Status, String) {
        let (status, detail) = self.check_database(replica.database()).await;
        let age = match replica.lag() {
            Some(lag) => format!("as of {:.0} s ago", lag.as_secs_f64()),
            None => "how old it is is not known yet".to_owned(),
        };
        match replica.fitness() {
            Err(unfit) if status == Status::Pass && unfit != Unfit::Unknown => {
                (Status::Warn, format!("{detail}; {age}; not asked: {}", unfit.as_str()))
            }
            _ => (status, format!("{detail}; {age}")),
        }
    }

    /// Judged by real calls if there were any. Only a provider without calls is probed, by a free request.
    async fn check_provider(&self, upstream: &Upstream, listed: &Listed) -> (Status, String) {
        let recent = upstream.health_window.recent();
        if !recent.is_empty() {
            let status = if upstream.health_window.is_failing() {
                Status::Warn
            } else {
                Status::Pass
            };
            let detail = format!(
                "{} calls succeeded and {} failed in the last 30 s",
                recent.succeeded, recent.failed
            );
            return (status, detail);
        }
        if !upstream.capabilities.model_list {
            let detail = "no calls in the last 30 s, and no list of models to ask for";
            return (Status::Pass, detail.to_owned());
        }
        let answer = if let Some(answer) = listed.recent(self.name()) {
            answer
        } else {
            let asked = tokio::time::timeout(LIST_LIMIT, upstream.provider.list_models()).await;
            let answer = match asked {
                Ok(Ok(models)) => Ok(models.len()),
                Ok(Err(error)) => Err(error_chain(&error)),
                Err(_) => Err(format!("no answer within {LIST_LIMIT:?}")),
            };
            listed.note(self.name(), answer)
        };
        match answer {
            Ok(models) => (
                Status::Pass,
                format!("no calls in the last 30 s; it lists {models} models"),
            ),
            Err(error) => (Status::Warn, format!("no calls in the last 30 s; {error}")),
        }
    }
}

/// Waiting records are normal while the database is away; only a full backlog refuses calls.
fn check_usage(usage: &Usage) -> (Status, String) {
    let waiting = format!("{} records wait for the database", usage.backlog());
    if usage.is_full() {
        (
            Status::Warn,
            format!("{waiting}; there is no room for more, so every call is refused"),
        )
    } else if let Some(fault) = usage.journal_fault() {
        (
            Status::Warn,
            format!("{waiting}; until then they are in memory alone, since there is no journal: {fault}"),
        )
    } else {
        (Status::Pass, waiting)
    }
}

impl Remembered {
    async fn check(&self, database: &Database) -> (Status, String) {
        let recent = self.recent();
        let broken = match recent {
            Some(broken) => broken,
            None => match indexes::left_broken(database).await {
                Ok(broken) => {
                    let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                    recent.insert((Instant::now(), broken)).1.clone()
                }
                // The database check reports that it is away.
                Err(_) => return (Status::Pass, "not known for the moment".to_owned()),
            },
        };
        if broken.is_empty() {
            (Status::Pass, "all valid".to_owned())
        } else {
            (
                Status::Warn,
                format!("left invalid by an interrupted migration: {}", broken.join(", ")),
            )
        }
    }

    fn recent(&self) -> Option<Vec<String>> {
        let recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, broken) = recent.as_ref()?;
        (at.elapsed() < ASK_AGAIN).then(|| broken.clone())
    }
}

impl Listed {
    fn recent(&self, provider: &str) -> Option<ListResult> {
        let recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, answer) = recent.get(provider)?;
        let valid = if answer.is_ok() { ASK_AGAIN } else { ASK_AGAIN_SOON };
        (at.elapsed() < valid).then(|| answer.clone())
    }

    fn note(&self, provider: &str, answer: ListResult) -> ListResult {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.insert(provider.to_owned(), (Instant::now(), answer.clone()));
        answer
    }
}
