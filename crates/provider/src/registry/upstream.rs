//! A provider, and what is known of it beside its configuration.

use std::sync::atomic::{AtomicBool, Ordering};

use super::OpenCalls;
use crate::{Provider, health_window::HealthWindow};
use configuration::{ProviderConfig, ProviderKind};

/// A provider and how its calls have gone lately.
pub struct Upstream {
    pub provider: Box<dyn Provider>,
    pub health_window: HealthWindow,
    pub kind: ProviderKind,
    /// Streams are asked for their usage where the caller has not asked.
    asks_for_usage: AtomicBool,
    /// Tells servers apart that have, or had, the same name in the configuration.
    pub(super) address: Box<str>,
    /// Of a server that runs on this machine, which what is done in the background would slow down.
    pub open_calls: Option<OpenCalls>,
}

impl Upstream {
    /// Of a provider with this configuration. `runs_here` says that it is a server on this machine.
    pub(super) fn new(provider: Box<dyn Provider>, config: &ProviderConfig, runs_here: bool) -> Self {
        Self {
            provider,
            health_window: HealthWindow::default(),
            kind: config.kind,
            asks_for_usage: AtomicBool::new(config.usage_in_streams),
            address: config.base_url.as_ref().map_or("mock", |url| url.as_str()).into(),
            open_calls: runs_here.then(OpenCalls::default),
        }
    }

    pub fn asks_for_usage(&self) -> bool {
        self.asks_for_usage.load(Ordering::Relaxed)
    }

    /// It does not understand the wish. Whether that is news.
    pub fn stop_asking_for_usage(&self) -> bool {
        self.asks_for_usage.swap(false, Ordering::Relaxed)
    }
}
