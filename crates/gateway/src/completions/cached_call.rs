//! Serves calls from the answer cache, or by joining an identical call in flight.

mod in_flight;
mod start;

use llm::openai::request::{Request, ResponseForm};
use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{
    AnswerStream, Call, CallResponse, CallResult, CompletionError, Completions,
    cache_policy::{CachePolicy, CacheStatus},
    shared::{ResponseHead, SharedCall, SharedReader, StartError},
    stored::StoredAnswer,
};
use cache::{Hit, Key};
use domain::usage::CallOutcome;
pub(super) use in_flight::InFlightCalls;
use llm::sse::BodyUsage;
use provider::{MAX_HEADERS, ProviderError, registry::Route};
use start::StartOutcome;

/// A caller whose shared call failed tries once more.
const ATTEMPTS: usize = 2;

impl Completions {
    /// The answer in memory, without waiting.
    pub(super) fn lookup_memory(
        &self,
        call: &Call,
        form: ResponseForm,
        route: &Route,
        key: &Key,
        max_age: Option<Duration>,
    ) -> Result<Option<CallResult>, CompletionError> {
        match self.0.caches.answers.peek(key) {
            Some(hit) => self.replay(call, form, route, max_age, hit),
            None => Ok(None),
        }
    }

    /// Serves the call from Redis, from an identical call in flight, or by starting one. Called after a memory miss; `before`
    /// is the insert count at that miss.
    pub(super) async fn answer_from_cache_or_upstream(
        &self,
        call: &Call,
        request: &Request<'_>,
        route: &Route,
        policy: CachePolicy,
        mut before: u64,
    ) -> Result<CallResult, CompletionError> {
        let (answers, form) = (&self.0.caches.answers, request.form(call.endpoint));
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                before = answers.insert_count();
                if !policy.reload
                    && let Some(answered) = self.lookup_memory(call, form, route, &policy.key, policy.max_age)?
                {
                    return Ok(answered);
                }
            }
            if !policy.reload {
                if let Some(shared) = self.0.in_flight_calls.join(&policy.key) {
                    if let Some(answered) = self.join_shared_call(call, form, route, shared).await? {
                        return Ok(answered);
                    }
                    continue;
                }
                if let Some(hit) = answers.fetch_from_redis(&policy.key).await
                    && let Some(answered) = self.replay(call, form, route, policy.max_age, hit)?
                {
                    return Ok(answered);
                }
            }
            match self.start_shared_call(call, request, route, &policy, before).await? {
                StartOutcome::CallResult(answered) => return Ok(answered),
                StartOutcome::AlreadyInFlight(shared) => {
                    if let Some(answered) = self.join_shared_call(call, form, route, shared).await? {
                        return Ok(answered);
                    }
                }
            }
        }
        Err(ProviderError::BadReply("the call that this one shared failed").into())
    }

    /// Serves a cached answer. `None` if it is too old for the caller, or cannot be converted to the requested form.
    fn replay(
        &self,
        call: &Call,
        form: ResponseForm,
        route: &Route,
        max_age: Option<Duration>,
        hit: Hit<StoredAnswer>,
    ) -> Result<Option<CallResult>, CompletionError> {
        let Some(stored) = hit.value else { return Ok(None) };
        if max_age.is_some_and(|max| hit.age > max) {
            return Ok(None);
        }
        let Some(answer) = in_requested_form(form, &stored) else {
            return Ok(None);
        };
        let slot = self.0.usage.reserve()?;
        let mut recorder = self.recorder((None, slot), call, route, form);
        recorder.note_whole(BodyUsage::default());
        recorder.note_settled(stored.usage());
        recorder.finish(CallOutcome::Completed);
        let cache = CacheStatus::Hit { age: hit.age };
        self.0.in_flight_calls.note(cache);
        Ok(Some(CallResult { answer, cache }))
    }

    /// Joins a call in flight. `None` if that call failed without a result, or its answer cannot be converted to the requested
    /// form. If the leader was refused admission, followers are refused as well: they would have queued behind it.
    async fn join_shared_call(
        &self,
        call: &Call,
        form: ResponseForm,
        route: &Route,
        shared: Arc<SharedCall>,
    ) -> Result<Option<CallResult>, CompletionError> {
        let slot = self.0.usage.reserve()?;
        let streamed = form.streamed;
        let own = self.recorder((None, slot), call, route, form);
        let mut reader = SharedReader::new(shared, Some(own), form.include_usage, self.0.stop.clone());
        let answer = match reader.head().await {
            Ok(ResponseHead::Whole { status, headers, body }) if !streamed || !status.is_success() => {
                reader.settle(outcome_of(status));
                CallResponse::Whole { status, headers, body }
            }
            Ok(ResponseHead::Stream { headers }) if streamed => CallResponse::Stream {
                headers,
                events: AnswerStream::Shared(Box::new(reader)),
            },
            // The leader requested the other form, and only a complete answer can be converted.
            Ok(_) => match reader.read_whole().await {
                Ok(Some(stored)) => {
                    let Some(answer) = in_requested_form(form, &stored) else {
                        reader.withdraw();
                        return Ok(None);
                    };
                    reader.settle(CallOutcome::Completed);
                    answer
                }
                Ok(None) | Err(StartError::Failed(_)) => {
                    reader.withdraw();
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            },
            Err(StartError::Failed(_)) => {
                reader.withdraw();
                return Ok(None);
            }
            Err(error) => {
                if matches!(error, StartError::NoCapacity(_)) {
                    reader.withdraw();
                }
                return Err(error.into());
            }
        };
        self.0.in_flight_calls.note(CacheStatus::Coalesced);
        Ok(Some(CallResult {
            answer,
            cache: CacheStatus::Coalesced,
        }))
    }
}

/// A stored answer in the requested form.
fn in_requested_form(form: ResponseForm, stored: &StoredAnswer) -> Option<CallResponse> {
    if form.streamed {
        Some(CallResponse::Stream {
            headers: HeaderMap::with_capacity(MAX_HEADERS),
            events: AnswerStream::Replayed {
                events: Some(stored.as_events(form.include_usage)?),
                tokens: stored.usage(),
            },
        })
    } else {
        stored.as_whole().map(whole)
    }
}

fn whole(body: bytes::Bytes) -> CallResponse {
    let mut headers = HeaderMap::with_capacity(MAX_HEADERS);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    CallResponse::Whole {
        status: StatusCode::OK,
        headers,
        body,
    }
}

fn outcome_of(status: StatusCode) -> CallOutcome {
    if status.is_success() {
        CallOutcome::Completed
    } else {
        CallOutcome::Refused
    }
}

impl From<StartError> for CompletionError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Failed(Some(error)) => error.into(),
            StartError::Failed(None) => ProviderError::BadReply("the call that this one shared failed").into(),
            StartError::NoCapacity(error) => error.into(),
            StartError::Stopping => Self::Stopping,
        }
    }
}
