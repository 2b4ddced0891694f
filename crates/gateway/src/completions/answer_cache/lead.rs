//! Starts a call that identical calls can join.

use std::sync::Arc;

use super::{Head, StartError, in_flight::Existing};
use crate::completions::{
    AnswerStream, Call, CallResponse, CallResult, CompletionError, Completions,
    attempt::Attempt,
    cache_policy::{CachePolicy, CacheStatus},
    shared::{SharedCall, StorePolicy, lead},
};
use llm::inbound::openai::RequestView;
use provider::registry::Route;
use telemetry::context;

/// The result of starting a shared call.
pub(super) enum Started {
    Answered(Box<CallResult>),
    /// An identical call is in flight already.
    InFlight(Arc<SharedCall>),
}

impl Completions {
    /// Starts the call for this caller and later joiners. `before` is
    /// [`Cached::insert_count`](cache::Cached::insert_count) before the lookup. The call can be joined already while it
    /// waits for admission: identical calls share one slot.
    pub(super) async fn lead(
        &self,
        call: &Call,
        view: &RequestView<'_>,
        target: &Route,
        policy: &CachePolicy,
        before: u64,
    ) -> Result<Started, CompletionError> {
        let (answers, in_flight_calls) = (&self.0.caches.answers, &self.0.in_flight_calls);
        let max_bytes = in_flight_calls.max_answer_bytes();
        let shared = SharedCall::new(max_bytes, self.allowance(call));
        if policy.reload {
            in_flight_calls.replace(policy.key, &shared);
        } else {
            let news = || answers.insert_count() != before;
            let peek = || news().then(|| answers.peek(&policy.key)).flatten();
            match in_flight_calls.add(policy.key, &shared, peek) {
                Ok(()) => {}
                Err(Existing::InFlight(other)) => return Ok(Started::InFlight(other)),
                Err(Existing::Cached(hit)) => {
                    if let Some(answered) = self.replay(call, view.form, target, policy.max_age, hit)? {
                        return Ok(Started::Answered(Box::new(answered)));
                    }
                    in_flight_calls.replace(policy.key, &shared);
                }
            }
        }
        // This caller pays for the call, so that its reader has no record of its own.
        let Some(mut reader) = shared.reader(&mut None, view.form.include_usage) else {
            return Err(StartError::Failed(None).into());
        };
        self.spawn_leader(shared, Attempt::of(call, view, target), call, policy, view.choices);
        let answer = match reader.head().await {
            Ok(Head::Whole { status, headers, body }) => CallResponse::Whole { status, headers, body },
            Ok(Head::Stream { headers }) => CallResponse::Stream {
                headers,
                events: AnswerStream::shared(reader),
            },
            Err(error) => {
                if !matches!(error, StartError::NoCapacity(_)) {
                    in_flight_calls.note(CacheStatus::Miss);
                }
                return Err(error.into());
            }
        };
        in_flight_calls.note(CacheStatus::Miss);
        Ok(Started::Answered(Box::new(CallResult {
            answer,
            cache: CacheStatus::Miss,
        })))
    }

    fn spawn_leader(&self, shared: Arc<SharedCall>, attempt: Attempt, call: &Call, policy: &CachePolicy, choices: u32) {
        let store = StorePolicy {
            answers: self.0.caches.answers.clone(),
            key: policy.key,
            choices,
            endpoint: call.endpoint,
            max_bytes: self.0.in_flight_calls.max_answer_bytes(),
        };
        let this = self.clone();
        let leading = async move {
            let attempted = this.attempt(attempt, false);
            lead(shared, attempted, store, this.0.stop.clone()).await;
        };
        // What is logged of the call names the request that started it.
        match context::current() {
            Some(request) => drop(self.0.leaders.spawn(context::within(request, leading))),
            None => drop(self.0.leaders.spawn(leading)),
        }
    }
}
