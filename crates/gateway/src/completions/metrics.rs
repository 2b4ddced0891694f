//! Metrics of calls, one set of handles per model, made once: a request only touches atomics.
//!
//! Names follow OpenTelemetry's GenAI conventions in Prometheus form where there is one.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use foldhash::HashMap;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::failures::{Failures, ProviderFailures};
use domain::{model::Model, money::Cost, tokens::TokenUsage, usage::CallOutcome};
use telemetry::metrics as names;

/// Handles of one model. The label values come from the catalogue, never from a request.
pub(super) struct ModelMetrics {
    in_flight: Gauge,
    by_outcome: [(Counter, Histogram); CallOutcome::ALL.len()],
    first_token: Histogram,
    input_tokens: Counter,
    output_tokens: Counter,
    cost: Counter,
    saved: Counter,
    pub(super) failures: Arc<ProviderFailures>,
    /// Of a model without prices.
    unpriced: Option<Unpriced>,
}

struct Unpriced {
    calls: Counter,
    /// The log has told of it.
    is_told: AtomicBool,
}

impl ModelMetrics {
    fn new(model: &Model, failures: &Failures) -> Self {
        let labels = |extra: &[(&'static str, &str)]| {
            let own = [
                ("gen_ai_request_model", &*model.id),
                ("gen_ai_provider_name", &*model.provider),
            ];
            own.iter()
                .chain(extra)
                .map(|(name, value)| metrics::Label::new(*name, (*value).to_owned()))
                .collect::<Vec<_>>()
        };
        let outcome = |outcome: CallOutcome| {
            let labels = labels(&[("outcome", outcome.as_str())]);
            (
                counter!(names::COMPLETIONS, labels.clone()),
                histogram!(names::COMPLETION_DURATION, labels),
            )
        };
        Self {
            in_flight: gauge!(names::COMPLETIONS_IN_FLIGHT, labels(&[])),
            by_outcome: CallOutcome::ALL.map(outcome),
            first_token: histogram!(names::TIME_TO_FIRST_TOKEN, labels(&[])),
            input_tokens: counter!(names::TOKENS, labels(&[("gen_ai_token_type", "input")])),
            output_tokens: counter!(names::TOKENS, labels(&[("gen_ai_token_type", "output")])),
            cost: counter!(names::COST, labels(&[])),
            saved: counter!(names::CACHE_SAVED, labels(&[])),
            failures: failures.of(&model.provider),
            unpriced: model.is_unpriced().then(|| Unpriced {
                calls: counter!(names::UNPRICED_CALLS, labels(&[])),
                is_told: AtomicBool::new(false),
            }),
        }
    }

    pub(super) fn started(&self) {
        self.in_flight.increment(1.0);
    }

    pub(super) fn withdrawn(&self) {
        self.in_flight.decrement(1.0);
    }

    /// A call that the provider may charge for has consumed something.
    pub(super) fn note_consumed(&self, model: &Model) {
        let Some(unpriced) = &self.unpriced else { return };
        unpriced.calls.increment(1);
        if !unpriced.is_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: "mapleai::usage",
                model = &*model.id,
                provider = &*model.provider,
                "the model has no price: its calls are recorded at no cost"
            );
        }
    }

    pub(super) fn finished(
        &self,
        outcome: CallOutcome,
        tokens: TokenUsage,
        cost: Cost,
        saved: Cost,
        latency: Duration,
        first_token: Option<Duration>,
    ) {
        self.in_flight.decrement(1.0);
        let (count, duration) = &self.by_outcome[outcome as usize];
        count.increment(1);
        duration.record(latency.as_secs_f64());
        if let Some(first_token) = first_token {
            self.first_token.record(first_token.as_secs_f64());
        }
        self.input_tokens.increment(tokens.input);
        self.output_tokens.increment(tokens.output);
        self.cost.increment(cost.nanodollars());
        if saved != Cost::default() {
            self.saved.increment(saved.nanodollars());
        }
    }
}

/// The handles of all models. Those known at start are looked up without a lock.
pub(super) struct CompletionMetrics {
    by_model: HashMap<Arc<str>, Arc<ModelMetrics>>,
    /// Of models that their provider listed later. The catalogue bounds them.
    later: Mutex<HashMap<Arc<str>, Arc<ModelMetrics>>>,
    failures: Failures,
}

impl CompletionMetrics {
    pub(super) fn new<'a>(catalogue: impl Iterator<Item = &'a Model>) -> Self {
        let failures = Failures::default();
        Self {
            by_model: catalogue
                .map(|model| (Arc::clone(&model.id), Arc::new(ModelMetrics::new(model, &failures))))
                .collect(),
            later: Mutex::default(),
            failures,
        }
    }

    /// `model` is of the catalogue.
    pub(super) fn of(&self, model: &Model) -> Arc<ModelMetrics> {
        if let Some(metrics) = self.by_model.get(&model.id) {
            return Arc::clone(metrics);
        }
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        let metrics = later
            .entry(Arc::clone(&model.id))
            .or_insert_with(|| Arc::new(ModelMetrics::new(model, &self.failures)));
        Arc::clone(metrics)
    }
}
