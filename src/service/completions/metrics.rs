//! Metrics of calls, one set of handles per model, made once: a request only touches atomics.
//!
//! Names follow OpenTelemetry's GenAI conventions in Prometheus form where there is one.

use std::{collections::HashMap, sync::Arc, time::Duration};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::{
    domain::{model::Model, money::Cost, tokens::TokenUsage, usage::Outcome},
    telemetry::metrics as names,
};

/// Handles of one model. The label values come from the catalogue, never from a request.
pub(super) struct ModelMetrics {
    in_flight: Gauge,
    by_outcome: [(Counter, Histogram); Outcome::ALL.len()],
    first_token: Histogram,
    input_tokens: Counter,
    output_tokens: Counter,
    cost: Counter,
    saved: Counter,
}

impl ModelMetrics {
    fn new(model: &Model) -> Self {
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
        let outcome = |outcome: Outcome| {
            let labels = labels(&[("outcome", outcome.as_str())]);
            (
                counter!(names::COMPLETIONS, labels.clone()),
                histogram!(names::COMPLETION_DURATION, labels),
            )
        };
        Self {
            in_flight: gauge!(names::COMPLETIONS_IN_FLIGHT, labels(&[])),
            by_outcome: Outcome::ALL.map(outcome),
            first_token: histogram!(names::TIME_TO_FIRST_TOKEN, labels(&[])),
            input_tokens: counter!(names::TOKENS, labels(&[("gen_ai_token_type", "input")])),
            output_tokens: counter!(names::TOKENS, labels(&[("gen_ai_token_type", "output")])),
            cost: counter!(names::COST, labels(&[])),
            saved: counter!(names::CACHE_SAVED, labels(&[])),
        }
    }

    pub(super) fn started(&self) {
        self.in_flight.increment(1.0);
    }

    pub(super) fn withdrawn(&self) {
        self.in_flight.decrement(1.0);
    }

    pub(super) fn finished(
        &self,
        outcome: Outcome,
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

#[derive(Clone)]
pub(super) struct CompletionMetrics {
    by_model: Arc<HashMap<Arc<str>, Arc<ModelMetrics>>>,
    /// Never used while routes come from the same catalogue; keeps a lookup from having to fail.
    other: Arc<ModelMetrics>,
}

impl CompletionMetrics {
    pub(super) fn new<'a>(catalogue: impl Iterator<Item = &'a Model>) -> Self {
        let by_model = catalogue
            .map(|model| (Arc::clone(&model.id), Arc::new(ModelMetrics::new(model))))
            .collect();
        let other = Model {
            id: "other".into(),
            name: "other".into(),
            kind: crate::domain::model::ModelKind::Chat,
            provider: "other".into(),
            upstream: "other".into(),
            input_price: crate::domain::money::Price::default(),
            output_price: crate::domain::money::Price::default(),
            caching: crate::domain::model::Caching::Off,
        };
        Self {
            by_model: Arc::new(by_model),
            other: Arc::new(ModelMetrics::new(&other)),
        }
    }

    pub(super) fn of(&self, model: &str) -> Arc<ModelMetrics> {
        Arc::clone(self.by_model.get(model).unwrap_or(&self.other))
    }
}
