//! Calls that may be answered by what an equal call was, or is being, answered.

mod lead;
mod under_way;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{
    Answer, AnswerStream, Answered, Call, CompletionError, Completions,
    plan::{CacheStatus, Plan},
    request::{Form, Request},
    shared::{Begun, NotBegun, SharedCall, SharedReader},
    stored::StoredAnswer,
};
use crate::{
    cache::{Hit, Key},
    domain::usage::CallOutcome,
    provider::{MAX_HEADERS, ProviderError, registry::Route, sse::BodyUsage},
};
use lead::Led;
pub(super) use under_way::Remembering;

/// A caller whose shared call failed asks anew, once.
const ATTEMPTS: usize = 2;

impl Completions {
    /// The answer in memory, which nobody has to wait for.
    pub(super) fn held(
        &self,
        call: &Call,
        form: Form,
        route: &Route,
        key: &Key,
        max_age: Option<Duration>,
    ) -> Result<Option<Answered>, CompletionError> {
        match self.0.caches.answers.peek(key) {
            Some(hit) => self.replay(call, form, route, max_age, hit),
            None => Ok(None),
        }
    }

    /// The answer that an equal call was, is being or will be given, for a caller who has seen that none is held. `before` is
    /// how many answers had come into memory then.
    pub(super) async fn remembered(
        &self,
        call: &Call,
        request: &Request<'_>,
        route: &Route,
        plan: Plan,
        mut before: u64,
    ) -> Result<Answered, CompletionError> {
        let (answers, form) = (&self.0.caches.answers, request.form(call.endpoint));
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                before = answers.insert_count();
                if !plan.reload
                    && let Some(answered) = self.held(call, form, route, &plan.key, plan.max_age)?
                {
                    return Ok(answered);
                }
            }
            if !plan.reload {
                if let Some(shared) = self.0.remembering.join(&plan.key) {
                    if let Some(answered) = self.follow(call, form, route, shared).await? {
                        return Ok(answered);
                    }
                    continue;
                }
                if let Some(hit) = answers.fetch_from_redis(&plan.key).await
                    && let Some(answered) = self.replay(call, form, route, plan.max_age, hit)?
                {
                    return Ok(answered);
                }
            }
            match self.lead(call, request, route, &plan, before).await? {
                Led::Answered(answered) => return Ok(answered),
                Led::Overtaken(shared) => {
                    if let Some(answered) = self.follow(call, form, route, shared).await? {
                        return Ok(answered);
                    }
                }
            }
        }
        Err(ProviderError::BadReply("the call that this one shared failed").into())
    }

    /// A remembered answer, unless it is too old for the caller, or cannot be given in the form asked for.
    fn replay(
        &self,
        call: &Call,
        form: Form,
        route: &Route,
        max_age: Option<Duration>,
        hit: Hit<StoredAnswer>,
    ) -> Result<Option<Answered>, CompletionError> {
        let Some(stored) = hit.value else { return Ok(None) };
        if max_age.is_some_and(|max| hit.age > max) {
            return Ok(None);
        }
        let Some(answer) = in_form(form, &stored) else {
            return Ok(None);
        };
        let slot = self.0.usage.reserve()?;
        let mut recorder = self.recorder((None, slot), call, route, form);
        recorder.note_whole(BodyUsage::default());
        recorder.note_settled(stored.usage());
        recorder.finish(CallOutcome::Completed);
        let cache = CacheStatus::Hit { age: hit.age };
        self.0.remembering.note(cache);
        Ok(Some(Answered { answer, cache }))
    }

    /// Shares a call under way. `None` if that has failed before it gave anything, or cannot be given in the form asked for.
    /// One that was refused a place was refused it for all: their own would have been behind it.
    async fn follow(
        &self,
        call: &Call,
        form: Form,
        route: &Route,
        shared: Arc<SharedCall>,
    ) -> Result<Option<Answered>, CompletionError> {
        let slot = self.0.usage.reserve()?;
        let streamed = form.streamed;
        let own = self.recorder((None, slot), call, route, form);
        let mut reader = SharedReader::new(shared, Some(own), form.include_usage, self.0.stop.clone());
        let answer = match reader.begun().await {
            Ok(Begun::Whole { status, headers, body }) if !streamed || !status.is_success() => {
                reader.settle(outcome_of(status));
                Answer::Whole { status, headers, body }
            }
            Ok(Begun::Stream { headers }) if streamed => Answer::Stream {
                headers,
                events: AnswerStream::Shared(Box::new(reader)),
            },
            // The other one asked for the other form: only a whole answer can be turned into this one.
            Ok(_) => match reader.read_on().await {
                Ok(Some(stored)) => {
                    let Some(answer) = in_form(form, &stored) else {
                        reader.withdraw();
                        return Ok(None);
                    };
                    reader.settle(CallOutcome::Completed);
                    answer
                }
                Ok(None) | Err(NotBegun::Failed(_)) => {
                    reader.withdraw();
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            },
            Err(NotBegun::Failed(_)) => {
                reader.withdraw();
                return Ok(None);
            }
            Err(error) => {
                if matches!(error, NotBegun::NoPlace(_)) {
                    reader.withdraw();
                }
                return Err(error.into());
            }
        };
        self.0.remembering.note(CacheStatus::Coalesced);
        Ok(Some(Answered {
            answer,
            cache: CacheStatus::Coalesced,
        }))
    }
}

/// A stored answer as the caller wants it.
fn in_form(form: Form, stored: &StoredAnswer) -> Option<Answer> {
    if form.streamed {
        Some(Answer::Stream {
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

fn whole(body: bytes::Bytes) -> Answer {
    let mut headers = HeaderMap::with_capacity(MAX_HEADERS);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Answer::Whole {
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

impl From<NotBegun> for CompletionError {
    fn from(error: NotBegun) -> Self {
        match error {
            NotBegun::Failed(Some(error)) => error.into(),
            NotBegun::Failed(None) => ProviderError::BadReply("the call that this one shared failed").into(),
            NotBegun::NoPlace(error) => error.into(),
            NotBegun::Stopping => Self::Stopping,
        }
    }
}
