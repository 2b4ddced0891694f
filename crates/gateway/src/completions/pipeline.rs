//! The way of a call, from its body to its answer: each step is one call.

use super::{
    AnswerStream, Call, CallResponse, CallResult, CompletionError, Completions,
    answer_cache::Lookup,
    attempt::{Attempt, Attempted},
    cache_policy::CacheStatus,
    stored,
};
use llm::{Endpoint, inbound::openai::RequestView};
use provider::registry::Route;

impl Completions {
    /// Makes one call, or serves it from an identical one. Dropping the future, or the returned stream, ends the upstream
    /// call unless others share it; consumption until then is recorded all the same.
    pub async fn call(&self, call: Call) -> Result<CallResult, CompletionError> {
        // 1. What routing, policy, the cache key and metering need of the body, read once.
        let view = RequestView::read(&call.body, call.endpoint)?;
        self.note_use(&call);
        // 2. The targets that may answer: one, until routes have fallbacks.
        let target = self.resolve(&view.model).await?;
        // 3. Nothing is answered before policy.
        let mut approval = self.approve(&call, target)?;
        // 4 to 7. Ended with the credential, like the stream that may come of it.
        let answering = Box::pin(self.answer(&call, &view, target));
        let answered = approval.live.unless_ended(answering).await;
        let CallResult { answer, cache } = answered.ok_or(CompletionError::Revoked)??;
        let answer = match answer {
            CallResponse::Stream { headers, events } => CallResponse::Stream {
                headers,
                events: events.tied_to(approval),
            },
            // Some servers do not stream some models. OpenAI's clients find nothing in a response of the other form, and
            // raise no error.
            CallResponse::Whole { status, headers, body } if status.is_success() && view.form.streamed => {
                stored::as_stream(status, headers, body, view.form.include_usage)
            }
            whole @ CallResponse::Whole { .. } => whole,
        };
        Ok(CallResult { answer, cache })
    }

    async fn answer(&self, call: &Call, view: &RequestView<'_>, target: &Route) -> Result<CallResult, CompletionError> {
        // 4. The answer cache: a stored answer, or an identical call in flight.
        match self.look_up(call, view, target).await? {
            Lookup::Answered(answered) => Ok(answered),
            // Boxed, so that calls that have nothing to wait for do not carry room for it.
            Lookup::Missed(miss) => Box::pin(self.answer_missed(call, view, target, miss)).await,
            Lookup::Unused => self.answer_alone(call, view, target).await,
        }
    }

    /// A call that nobody shares.
    pub(super) async fn answer_alone(
        &self,
        call: &Call,
        view: &RequestView<'_>,
        target: &Route,
    ) -> Result<CallResult, CompletionError> {
        // 5 to 7. Admission, dispatch, record and settle: `attempt` has all three.
        let answer = self.attempt(Attempt::of(call, view, target), true).await?;
        self.0.in_flight_calls.note(CacheStatus::Bypass);
        Ok(CallResult {
            answer: answer.into(),
            cache: CacheStatus::Bypass,
        })
    }

    /// Who answers for a model.
    async fn resolve(&self, model: &str) -> Result<&Route, CompletionError> {
        let registry = &self.0.registry;
        if registry.route(model).is_none() {
            // A provider that was asked for its models at the start may be about to list this one.
            Box::pin(registry.first_look()).await;
        }
        // A caller's text in an error message is bounded, whatever the body limit is.
        let shown = || model.chars().take(128).collect();
        registry
            .route(model)
            .ok_or_else(|| CompletionError::UnknownModel(shown()))
    }

    fn note_use(&self, call: &Call) {
        if call.principal.api_key().is_some() {
            self.0.uses[usize::from(call.endpoint == Endpoint::Embeddings)].increment(1);
        }
    }
}

impl From<Attempted> for CallResponse {
    fn from(attempted: Attempted) -> Self {
        match attempted {
            Attempted::Whole {
                status, headers, body, ..
            } => Self::Whole { status, headers, body },
            Attempted::Stream { headers, frames } => Self::Stream {
                headers,
                events: AnswerStream::metered(frames),
            },
        }
    }
}
