//! Serves calls from stored answers, or by joining an identical call in flight.

mod in_flight;
mod lead;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{
    AnswerStream, Call, CallResponse, CallResult, CompletionError, Completions,
    cache_policy::{self, CachePolicy, CacheStatus},
    shared::{Head, SharedCall, StartError},
    stored::StoredAnswer,
};
use cache::Hit;
use domain::usage::CallOutcome;
pub(super) use in_flight::InFlightCalls;
use lead::Started;
use llm::{
    inbound::openai::{RequestView, ResponseForm},
    outbound::BodyUsage,
};
use provider::{MAX_HEADERS, ProviderError, registry::Route};

/// A caller whose shared call failed tries once more.
const ATTEMPTS: usize = 2;

/// What came of joining a call in flight.
enum Joined {
    Answered(Box<CallResult>),
    /// That call failed without a result.
    Failed,
    /// It is ending without readers, or its answer cannot be converted to the requested form.
    Unfit,
}

/// What memory has for a call.
pub(super) enum Lookup {
    Answered(CallResult),
    Missed(Miss),
    /// The call does not use the cache.
    Unused,
}

/// A call that memory has no answer for.
pub(super) struct Miss {
    policy: CachePolicy,
    /// [`Cached::insert_count`](cache::Cached::insert_count) before the lookup.
    before: u64,
}

impl Completions {
    /// Looks for the answer in memory, which takes no time.
    pub(super) async fn look_up(
        &self,
        call: &Call,
        view: &RequestView<'_>,
        target: &Route,
    ) -> Result<Lookup, CompletionError> {
        if !cache_policy::is_wanted(call, target, view) {
            return Ok(Lookup::Unused);
        }
        let shares = self.sharing(call.principal.organization).await;
        let Some(policy) = cache_policy::policy_of(call, view, target, shares) else {
            return Ok(Lookup::Unused);
        };
        let before = self.0.caches.answers.insert_count();
        if let Some(answered) = self.recall(call, view.form, target, &policy)? {
            return Ok(Lookup::Answered(answered));
        }
        Ok(Lookup::Missed(Miss { policy, before }))
    }

    /// The answer in memory, unless the caller wants a new one.
    fn recall(
        &self,
        call: &Call,
        form: ResponseForm,
        target: &Route,
        policy: &CachePolicy,
    ) -> Result<Option<CallResult>, CompletionError> {
        match self.0.caches.answers.peek(&policy.key).filter(|_| !policy.reload) {
            Some(hit) => self.replay(call, form, target, policy.max_age, hit),
            None => Ok(None),
        }
    }

    /// Serves the call from Redis, from an identical call in flight, or by starting one.
    pub(super) async fn answer_missed(
        &self,
        call: &Call,
        view: &RequestView<'_>,
        target: &Route,
        Miss { policy, mut before }: Miss,
    ) -> Result<CallResult, CompletionError> {
        let (answers, form) = (&self.0.caches.answers, view.form);
        let mut has_failed = false;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                before = answers.insert_count();
                if let Some(answered) = self.recall(call, form, target, &policy)? {
                    return Ok(answered);
                }
            }
            if !policy.reload {
                if let Some(shared) = self.0.in_flight_calls.join(&policy.key) {
                    match self.join(call, form, target, &shared).await? {
                        Joined::Answered(answered) => return Ok(*answered),
                        Joined::Failed => has_failed = true,
                        Joined::Unfit => has_failed = false,
                    }
                    continue;
                }
                if let Some(hit) = answers.fetch_from_redis(&policy.key).await
                    && let Some(answered) = self.replay(call, form, target, policy.max_age, hit)?
                {
                    return Ok(answered);
                }
            }
            match self.lead(call, view, target, &policy, before).await? {
                Started::Answered(answered) => return Ok(*answered),
                Started::InFlight(shared) => match self.join(call, form, target, &shared).await? {
                    Joined::Answered(answered) => return Ok(*answered),
                    Joined::Failed => has_failed = true,
                    Joined::Unfit => has_failed = false,
                },
            }
        }
        // That call did not fail: it gave others what they wanted.
        if !has_failed {
            return self.answer_alone(call, view, target).await;
        }
        Err(ProviderError::BadReply("the call that this one shared failed").into())
    }

    /// Serves a stored answer. `None` if it is too old for the caller, or cannot be converted to the requested form.
    fn replay(
        &self,
        call: &Call,
        form: ResponseForm,
        target: &Route,
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
        let mut recorder = self.recorder((None, slot), call, target, form);
        recorder.note_whole(BodyUsage::default());
        recorder.note_settled(stored.usage());
        recorder.finish(CallOutcome::Completed);
        let cache = CacheStatus::Hit { age: hit.age };
        self.0.in_flight_calls.note(cache);
        Ok(Some(CallResult { answer, cache }))
    }

    /// Joins a call in flight. If the leader was refused admission, followers are refused as well: they would have queued behind it.
    async fn join(
        &self,
        call: &Call,
        form: ResponseForm,
        target: &Route,
        shared: &Arc<SharedCall>,
    ) -> Result<Joined, CompletionError> {
        let slot = self.0.usage.reserve()?;
        let mut own = Some(self.recorder((None, slot), call, target, form));
        let Some(mut reader) = shared.reader(&mut own, form.include_usage) else {
            if let Some(own) = &mut own {
                own.withdraw();
            }
            return Ok(Joined::Unfit);
        };
        let answer = match reader.head().await {
            Ok(Head::Whole { status, headers, body }) if !form.streamed || !status.is_success() => {
                reader.settle(outcome_of(status));
                CallResponse::Whole { status, headers, body }
            }
            Ok(Head::Stream { headers }) if form.streamed => CallResponse::Stream {
                headers,
                events: AnswerStream::shared(reader),
            },
            // The leader requested the other form, and only a complete answer can be converted.
            Ok(_) => match reader.read_whole().await {
                Ok(Some(stored)) => {
                    let Some(answer) = in_requested_form(form, &stored) else {
                        reader.withdraw();
                        return Ok(Joined::Unfit);
                    };
                    reader.settle(CallOutcome::Completed);
                    answer
                }
                Ok(None) => {
                    reader.withdraw();
                    return Ok(Joined::Unfit);
                }
                Err(StartError::Failed(_)) => {
                    reader.withdraw();
                    return Ok(Joined::Failed);
                }
                Err(error) => return Err(error.into()),
            },
            Err(StartError::Failed(_)) => {
                reader.withdraw();
                return Ok(Joined::Failed);
            }
            Err(error) => {
                if matches!(error, StartError::NoCapacity(_)) {
                    reader.withdraw();
                }
                return Err(error.into());
            }
        };
        self.0.in_flight_calls.note(CacheStatus::Coalesced);
        Ok(Joined::Answered(Box::new(CallResult {
            answer,
            cache: CacheStatus::Coalesced,
        })))
    }
}

/// A stored answer in the requested form.
fn in_requested_form(form: ResponseForm, stored: &StoredAnswer) -> Option<CallResponse> {
    if form.streamed {
        Some(CallResponse::Stream {
            headers: HeaderMap::with_capacity(MAX_HEADERS),
            events: AnswerStream::stored(stored.as_events(form.include_usage)?, stored.usage()),
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
