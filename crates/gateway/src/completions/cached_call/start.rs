//! Starts a call that identical calls can join.

use llm::openai::request::Request;
use std::sync::Arc;

use super::in_flight::Existing;
use crate::completions::{
    AnswerStream, Call, CallResponse, CallResult, CompletionError, Completions, UpstreamRequest, ask,
    cache_policy::{CachePolicy, CacheStatus},
    shared::{ResponseHead, Sending, SharedCall, SharedReader, StartError, StorePolicy},
};
use provider::registry::Route;

impl Completions {
    /// Starts the call for this caller and later joiners. `before` is
    /// [`Cached::insert_count`](cache::Cached::insert_count) before the lookup. The call can be joined already while it
    /// waits for admission: identical calls share one slot.
    pub(super) async fn start_shared_call(
        &self,
        call: &Call,
        request: &Request<'_>,
        route: &Route,
        policy: &CachePolicy,
        before: u64,
    ) -> Result<StartOutcome, CompletionError> {
        let answers = &self.0.caches.answers;
        let store_policy = StorePolicy {
            answers: answers.clone(),
            key: policy.key,
            choices: request.choices,
            endpoint: call.endpoint,
            max_bytes: self.0.in_flight_calls.max_answer_bytes(),
        };
        let upstream_request = UpstreamRequest::of(call, request, route);
        // The clone shares the body; the rest of the call is small.
        let asked = Call {
            body: upstream_request.body.clone(),
            ..call.clone()
        };
        let (this, by) = (self.clone(), route.clone());
        let admitting = Box::pin(async move {
            let call_slots = this.call_slots(asked.principal.organization).await?;
            let has_added_usage = upstream_request.has_added_usage;
            let (upstream_request, recorder) = this.begin(call_slots, &asked, &by, upstream_request);
            let sending: Sending =
                Box::pin(async move { ask::ask(&by.upstream, upstream_request, has_added_usage).await });
            Ok((recorder, sending))
        });
        let shared = SharedCall::new(admitting, store_policy, self.allowance(call));
        let in_flight_calls = &self.0.in_flight_calls;
        if policy.reload {
            in_flight_calls.replace(policy.key, &shared);
        } else {
            let news = || answers.insert_count() != before;
            let peek = || news().then(|| answers.peek(&policy.key)).flatten();
            match in_flight_calls.add(policy.key, &shared, peek) {
                Ok(()) => {}
                Err(Existing::InFlight(other)) => return Ok(StartOutcome::AlreadyInFlight(other)),
                Err(Existing::Cached(hit)) => {
                    if let Some(answered) =
                        self.replay(call, request.form(call.endpoint), route, policy.max_age, hit)?
                    {
                        return Ok(StartOutcome::CallResult(answered));
                    }
                    in_flight_calls.replace(policy.key, &shared);
                }
            }
        }
        let mut reader = SharedReader::new(shared, None, request.include_usage, self.0.stop.clone());
        let answer = match reader.head().await {
            Ok(ResponseHead::Whole { status, headers, body }) => CallResponse::Whole { status, headers, body },
            Ok(ResponseHead::Stream { headers }) => CallResponse::Stream {
                headers,
                events: AnswerStream::Shared(Box::new(reader)),
            },
            Err(error) => {
                if !matches!(error, StartError::NoCapacity(_)) {
                    in_flight_calls.note(CacheStatus::Miss);
                }
                return Err(error.into());
            }
        };
        in_flight_calls.note(CacheStatus::Miss);
        Ok(StartOutcome::CallResult(CallResult {
            answer,
            cache: CacheStatus::Miss,
        }))
    }
}

/// The result of starting a shared call.
pub(super) enum StartOutcome {
    CallResult(CallResult),
    /// An identical call is in flight already.
    AlreadyInFlight(Arc<SharedCall>),
}
