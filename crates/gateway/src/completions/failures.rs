//! What operators see of a provider that fails: each failure counted, and told in the log within a bound.

use std::{
    collections::HashMap,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use metrics::{Counter, counter};

use provider::ProviderError;
use telemetry::{
    context::{self, LogContext},
    limit::RateLimit,
    metrics::PROVIDER_FAILURES,
};

/// Lines for one provider in a minute. A provider that is away fails every call, and the first ones tell why.
const MAX_LINES: u32 = 5;
const MINUTE: Duration = Duration::from_mins(1);

/// One provider's failures.
pub(super) struct ProviderFailures {
    provider: Arc<str>,
    lines: RateLimit,
    /// By kind, from zero on: what a counter that comes into being holds is no increase to Prometheus, and the first failures count.
    counts: [(&'static str, Counter); ProviderError::KINDS.len()],
}

impl ProviderFailures {
    fn new(provider: Arc<str>) -> Self {
        let counts = ProviderError::KINDS.map(|kind| {
            let counter = counter!(PROVIDER_FAILURES, "gen_ai_provider_name" => provider.to_string(), "kind" => kind);
            counter.increment(0);
            (kind, counter)
        });
        Self {
            provider,
            lines: RateLimit::per(MINUTE, MAX_LINES),
            counts,
        }
    }

    /// Counts and logs one failed call. `request` is what its line is marked with: a stream fails outside of the task that
    /// served its request.
    pub(super) fn note(&self, model: &str, error: &ProviderError, request: Option<&Arc<LogContext>>) {
        let kind = error.kind();
        for (_, counter) in self.counts.iter().filter(|(counted, _)| *counted == kind) {
            counter.increment(1);
        }
        let Some(left_out) = self.lines.allow(Instant::now()) else {
            return;
        };
        let tell = || {
            tracing::warn!(
                target: "mapleai::providers",
                provider = &*self.provider,
                model,
                status = error.status().map(|status| status.as_u16()),
                kind,
                error = error_chain(error),
                left_out,
                "the provider failed a call"
            );
        };
        match request {
            Some(request) => context::within_sync(Arc::clone(request), tell),
            None => tell(),
        }
    }
}

/// The error with its sources. None of them holds a header or a body.
fn error_chain(error: &ProviderError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Those of all providers. The configuration bounds them.
#[derive(Default)]
pub(super) struct Failures(Mutex<HashMap<Arc<str>, Arc<ProviderFailures>>>);

impl Failures {
    pub(super) fn of(&self, provider: &Arc<str>) -> Arc<ProviderFailures> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = all
            .entry(Arc::clone(provider))
            .or_insert_with(|| Arc::new(ProviderFailures::new(Arc::clone(provider))));
        Arc::clone(one)
    }
}
