//! Changing the level while the process runs, for a while or for good.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use tracing_subscriber::{EnvFilter, Registry, reload};

use configuration::log::parse_filter;

#[derive(Debug, thiserror::Error)]
pub enum LevelError {
    #[error(
        "must be error, warn, info, debug, trace or off, and more as <target>=<level>, such as \"warn,mapleai::http=info\"; it is {0:?}"
    )]
    Filter(String),
    #[error("the log is gone")]
    Gone(#[from] reload::Error),
}

/// The log's level. Cheap to clone.
#[derive(Clone)]
pub struct LogControl(Arc<LogControlInner>);

struct LogControlInner {
    configured: String,
    handle: reload::Handle<EnvFilter, Registry>,
    /// What is in force, and until when if not for good.
    current: Mutex<(String, Option<Instant>)>,
}

static CONTROL: OnceLock<LogControl> = OnceLock::new();

/// The process's own log, once it is installed.
pub fn control() -> Option<LogControl> {
    CONTROL.get().cloned()
}

pub(super) fn install(control: LogControl) {
    let _ = CONTROL.set(control);
}

impl LogControl {
    pub(super) fn new(configured: String, handle: reload::Handle<EnvFilter, Registry>) -> Self {
        let current = Mutex::new((configured.clone(), None));
        Self(Arc::new(LogControlInner {
            configured,
            handle,
            current,
        }))
    }

    pub fn configured(&self) -> &str {
        &self.0.configured
    }

    /// What is in force, and for how much longer if not for good.
    pub fn current(&self) -> (String, Option<Duration>) {
        let current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        let left = current.1.map(|until| until.saturating_duration_since(Instant::now()));
        (current.0.clone(), left)
    }

    /// Puts `level` in force, for a while or for good. Takes what the configuration takes; events of security and of
    /// start and stop stay at every level.
    pub fn set(&self, level: &str, span: Option<Duration>) -> Result<(), LevelError> {
        let filter = parse_filter(level).ok_or_else(|| LevelError::Filter(level.chars().take(200).collect()))?;
        let mut current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.handle.reload(filter)?;
        *current = (level.to_owned(), span.map(|span| Instant::now() + span));
        drop(current);
        tracing::info!(target: "mapleai::lifecycle", level, seconds = span.map(|span| span.as_secs()), "log level changed");
        Ok(())
    }

    /// Restores what is configured once the time of a change is over. To be called now and then.
    pub fn restore_if_over(&self) {
        let over = {
            let current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
            current.1.is_some_and(|until| until <= Instant::now())
        };
        if over {
            // What was once accepted is accepted again.
            let _ = self.set(&self.0.configured, None);
        }
    }
}
