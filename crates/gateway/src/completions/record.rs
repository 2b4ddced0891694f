//! The usage record of one call, from its start to its end.

use llm::inbound::openai::ResponseForm;
use std::time::Instant;

use http::StatusCode;

use super::{
    Call,
    metrics::{CompletionMetrics, ModelMetrics},
    tally::Tally,
};
use crate::{
    admission::Permit,
    usage::{Opened, UsageSlot},
};
use domain::{
    clock::Clock,
    ids::UsageRecordId,
    model::Model,
    money::Cost,
    principal::Principal,
    tokens::TokenUsage,
    usage::{CallOutcome, UsageRecord},
};
use llm::outbound::{BodyUsage, ReportedUsage};
use provider::{
    ProviderError, SentMark,
    registry::{Route, Upstream},
};
use std::sync::Arc;
use telemetry::{
    context::{self, LogContext},
    traces::OpenSpan,
};

/// Files exactly one record: by `finish` and the like or, if the caller disconnects first, on drop.
#[expect(clippy::struct_excessive_bools, reason = "each says another thing of the call")]
pub struct Recorder {
    /// The permit, like the usage slot, is held until the record is filed.
    call_slots: Option<(Option<Permit>, UsageSlot)>,
    /// No provider was called, so the duration says nothing about calls.
    unreached: bool,
    /// The failure was on our side and says nothing about the provider.
    ours: bool,
    /// The answer is that of another call, so it costs nothing.
    cached: bool,
    model: Arc<Model>,
    upstream: Arc<Upstream>,
    principal: Principal,
    streamed: bool,
    tally: Tally,
    /// Whether anything was sent to the upstream. `None` if that is not tracked.
    sent: Option<SentMark>,
    /// The consumed tokens, once they are final.
    settled: Option<TokenUsage>,
    arrived: Instant,
    first_token: Option<Instant>,
    /// The first token came together with all others, at the end.
    whole: bool,
    metrics: Arc<ModelMetrics>,
    clock: Clock,
    span: Option<OpenSpan>,
    /// The request for the log line of a failure: a stream ends outside of the task that served its request.
    request: Option<Arc<LogContext>>,
}

impl Recorder {
    /// Without a permit this is the record of an answer that another call made.
    pub(super) fn start(
        call_slots: (Option<Permit>, UsageSlot),
        route: &Route,
        call: &Call,
        form: ResponseForm,
        metrics: &CompletionMetrics,
        clock: &Clock,
    ) -> Self {
        let metrics = metrics.of(&route.model);
        metrics.started();
        let mut call_slots = call_slots;
        // A record without cost needs no protection by the journal.
        if call_slots.0.is_some() {
            call_slots.1.open(|| opened(route, call, form, clock));
        }
        Self {
            cached: call_slots.0.is_none(),
            call_slots: Some(call_slots),
            unreached: false,
            ours: false,
            model: Arc::clone(&route.model),
            upstream: Arc::clone(&route.upstream),
            principal: call.principal,
            streamed: form.streamed,
            tally: Tally::new(form.input_bytes),
            sent: None,
            settled: None,
            arrived: call.arrived,
            first_token: None,
            whole: false,
            metrics,
            clock: clock.clone(),
            span: None,
            request: context::current(),
        }
    }

    /// Sets the span that ends with the record.
    pub(super) fn trace(&mut self, span: Option<OpenSpan>) {
        self.span = span;
    }

    /// The call counts as made once the mark is set.
    pub(super) fn not_before_sent(&mut self) -> SentMark {
        self.sent.insert(SentMark::default()).clone()
    }

    /// Records text of the answer; the first text sets the time to first token.
    pub(super) fn note_text(&mut self, bytes: usize) {
        if self.first_token.is_none() {
            self.first_token = Some(Instant::now());
        }
        self.tally.add_text(bytes);
        if let Some((_, slot)) = &self.call_slots {
            slot.note_text(bytes);
        }
    }

    /// Records an answer that came in one piece just now.
    pub(super) fn note_whole(&mut self, usage: BodyUsage) {
        self.whole = true;
        self.tally.add_text(usage.text_bytes);
        if let Some(reported) = usage.reported {
            self.note_usage(reported);
        }
    }

    /// Records the usage that the provider reported.
    pub(super) fn note_usage(&mut self, usage: ReportedUsage) {
        self.tally.report(usage);
    }

    /// Records the counts of the other call whose answer this is.
    pub(super) fn note_settled(&mut self, tokens: TokenUsage) {
        self.settled = Some(tokens);
    }

    /// The consumed tokens, so far if the call goes on.
    pub(super) fn tokens(&self) -> TokenUsage {
        self.settled.unwrap_or_else(|| self.tally.of_part())
    }

    /// Withdraws the record: the call was not made, or is made again.
    pub(super) fn withdraw(&mut self) {
        if self.call_slots.take().is_some() {
            self.metrics.withdrawn();
        }
    }

    pub(super) fn finish(&mut self, outcome: CallOutcome) {
        let tokens = self.settled.unwrap_or_else(|| match outcome {
            CallOutcome::Completed => self.tally.of_whole(),
            // For example dropped while the connection was being opened.
            CallOutcome::Cancelled if self.sent.as_ref().is_some_and(|sent| !sent.is_set()) => TokenUsage::default(),
            CallOutcome::Cancelled => self.tally.of_part(),
            CallOutcome::Refused | CallOutcome::Failed | CallOutcome::TimedOut => self.tally.of_failed(),
        });
        self.file(outcome, tokens);
    }

    /// The upstream refused the request: nothing was consumed.
    pub(super) fn refuse(&mut self, status: StatusCode) {
        // One that has had enough of us is up, but does not do its work.
        self.upstream
            .health_window
            .note(status != StatusCode::TOO_MANY_REQUESTS, Instant::now());
        self.file(CallOutcome::Refused, TokenUsage::default());
    }

    /// The upstream failed. Only the caller sees the error, so it is counted and logged here.
    pub(super) fn fail(&mut self, error: &ProviderError) {
        if self.call_slots.is_some() && !self.cached {
            self.metrics.failures.note(&self.model.id, error, self.request.as_ref());
        }
        self.unreached = !error.has_reached();
        self.ours = error.is_ours();
        let outcome = if error.is_timeout() {
            CallOutcome::TimedOut
        } else {
            CallOutcome::Failed
        };
        self.finish(outcome);
    }

    fn file(&mut self, outcome: CallOutcome, tokens: TokenUsage) {
        let Some((permit, slot)) = self.call_slots.take() else {
            return;
        };
        self.settled = Some(tokens);
        // Read once for everything that ends now.
        let now = Instant::now();
        if let Some(permit) = permit
            && !self.unreached
        {
            permit.end(now.into());
        }
        let price = self.model.cost(tokens);
        let (cost, saved) = match (self.cached, outcome) {
            (false, _) => (price, Cost::default()),
            (true, CallOutcome::Completed) => (Cost::default(), price),
            (true, _) => Default::default(),
        };
        match outcome {
            // The call whose answer this is has recorded the outcome.
            _ if self.cached || self.ours => {}
            CallOutcome::Completed => self.upstream.health_window.note(true, now),
            CallOutcome::Failed | CallOutcome::TimedOut => self.upstream.health_window.note(false, now),
            CallOutcome::Refused | CallOutcome::Cancelled => {}
        }
        let latency = now.saturating_duration_since(self.arrived);
        let first_token = self.first_token.or(self.whole.then_some(now));
        let first_token = first_token.map(|first| first.saturating_duration_since(self.arrived));
        let spent = if self.cached { TokenUsage::default() } else { tokens };
        if spent.input > 0 || spent.output > 0 {
            self.metrics.note_consumed(&self.model);
        }
        self.metrics.finished(outcome, spent, cost, saved, latency, first_token);
        if let Some(span) = self.span.take() {
            span.finished(outcome.as_str(), tokens.input, tokens.output);
        }
        let micros = |duration: std::time::Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let created_at = self.clock.now();
        let id = slot.id().unwrap_or_else(|| UsageRecordId::at(created_at));
        slot.send(UsageRecord {
            id,
            organization: self.principal.organization,
            user: self.principal.user,
            api_key: self.principal.api_key(),
            model: Arc::clone(&self.model.id),
            provider: Arc::clone(&self.model.provider),
            kind: self.model.kind,
            outcome,
            streamed: self.streamed,
            tokens,
            cost,
            cached: self.cached,
            saved,
            latency_us: micros(latency),
            first_token_us: first_token.map(micros),
            created_at,
        });
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Estimated from the text so far: the upstream sends its own count last, and it will not come any more.
        self.finish(CallOutcome::Cancelled);
    }
}

/// The record of a call that has only begun, for the journal.
fn opened(route: &Route, call: &Call, form: ResponseForm, clock: &Clock) -> Opened {
    let created_at = clock.now();
    Opened {
        record: UsageRecord {
            id: UsageRecordId::at(created_at),
            organization: call.principal.organization,
            user: call.principal.user,
            api_key: call.principal.api_key(),
            model: Arc::clone(&route.model.id),
            provider: Arc::clone(&route.model.provider),
            kind: route.model.kind,
            outcome: CallOutcome::Cancelled,
            streamed: form.streamed,
            tokens: TokenUsage::default(),
            cost: Cost::default(),
            cached: false,
            saved: Cost::default(),
            latency_us: 0,
            first_token_us: None,
            created_at,
        },
        model: Arc::clone(&route.model),
        input_bytes: form.input_bytes,
        started: call.arrived,
    }
}
