//! One attempt: a call to one target, from its admission to its usage record.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{Call, CompletionError, Completions, NoCapacity, metered::MeteredStream, record::Recorder};
use crate::{admission::Permit, usage::UsageSlot};
use domain::{ids::OrganizationId, tokens::TokenUsage, usage::CallOutcome};
use llm::{
    Endpoint,
    inbound::openai::{Outgoing, RequestView, ResponseForm},
    outbound::{self, NoAnswer, WholeAnswer},
};
use provider::{ProviderError, ProviderReply, ProviderRequest, registry::Route};
use telemetry::traces::OpenSpan;

/// A place in flight, unless the answer is another call's, and one for the record.
pub(super) type CallSlots = (Option<Permit>, UsageSlot);

/// What is sent to a target. Cheap to clone: bodies are shared.
#[derive(Clone)]
pub(super) struct Attempt {
    /// With the body that the target gets.
    call: Call,
    target: Route,
    form: ResponseForm,
    choices: u32,
    /// Usage in the stream was requested by this service, not by the caller.
    has_added_usage: bool,
}

/// What a target answered.
pub(super) enum Attempted {
    /// 2xx, or the provider's refusal.
    Whole {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
        /// Consumed tokens, as recorded.
        tokens: TokenUsage,
    },
    Stream {
        headers: HeaderMap,
        frames: Box<MeteredStream>,
    },
}

impl Attempt {
    pub(super) fn of(call: &Call, view: &RequestView<'_>, target: &Route) -> Self {
        let reports_usage = target.upstream.reports_usage_in_streams();
        let Outgoing { body, has_added_usage } = view.outgoing(&call.body, &target.model.upstream, reports_usage);
        Self {
            call: Call { body, ..call.clone() },
            target: target.clone(),
            form: view.form,
            choices: view.choices,
            has_added_usage,
        }
    }
}

impl Completions {
    /// Waits for the slots that the call needs, asks the target, and records what that came to. A stream records itself. `withhold_usage`
    /// leaves out counts that the caller did not ask for.
    pub(super) async fn attempt(&self, attempt: Attempt, withhold_usage: bool) -> Result<Attempted, CompletionError> {
        let call_slots = self.call_slots(attempt.call.principal.organization).await?;
        let (request, mut recorder) = self.begin(call_slots, &attempt);
        match attempt.target.upstream.send(request).await {
            Ok(ProviderReply::Whole { status, headers, body }) if status.is_success() => {
                let body = complete(attempt.call.endpoint, &body, &mut recorder)?;
                let headers = as_json(headers);
                Ok(Attempted::Whole {
                    status,
                    headers,
                    body,
                    tokens: recorder.tokens(),
                })
            }
            Ok(ProviderReply::Whole { status, headers, body }) => {
                recorder.refuse(status);
                Ok(Attempted::Whole {
                    status,
                    headers,
                    body,
                    tokens: TokenUsage::default(),
                })
            }
            Ok(ProviderReply::Stream { headers, frames }) => {
                let withhold_usage = withhold_usage && !attempt.form.include_usage;
                let frames = MeteredStream::new(frames, recorder, withhold_usage, self.0.stop.clone());
                Ok(Attempted::Stream {
                    headers,
                    frames: Box::new(frames),
                })
            }
            Err(error) => {
                recorder.fail(&error);
                Err(error.into())
            }
        }
    }

    async fn call_slots(&self, organization: OrganizationId) -> Result<CallSlots, NoCapacity> {
        let permit = self.0.admission.admit(organization).await?;
        Ok((Some(permit), self.0.usage.reserve()?))
    }

    /// The request to the target, and its usage record.
    fn begin(&self, call_slots: CallSlots, attempt: &Attempt) -> (ProviderRequest, Recorder) {
        let Attempt { call, target, form, .. } = attempt;
        let span = self.0.traces.as_ref().map(|traces| {
            let (model, provider) = (&target.model.id, &target.model.provider);
            traces.call(call.endpoint.operation(), model, provider, call.traceparent.as_ref())
        });
        let traceparent = span
            .as_ref()
            .and_then(OpenSpan::traceparent)
            .or_else(|| call.traceparent.clone());
        let mut recorder = self.recorder(call_slots, call, target, *form);
        recorder.trace(span);
        let request = ProviderRequest {
            memory: Some(self.allowance(call)),
            endpoint: call.endpoint,
            model: Arc::clone(&target.model.upstream),
            body: call.body.clone(),
            stream: form.streamed,
            choices: attempt.choices,
            has_added_usage: attempt.has_added_usage,
            traceparent,
            sent: recorder.not_before_sent(),
        };
        (request, recorder)
    }

    pub(super) fn recorder(&self, call_slots: CallSlots, call: &Call, target: &Route, form: ResponseForm) -> Recorder {
        Recorder::start(call_slots, target, call, form, &self.0.metrics, &self.0.clock)
    }
}

/// The body of a whole answer, recorded; an error if it is none, which may have cost something all the same.
fn complete(endpoint: Endpoint, body: &Bytes, recorder: &mut Recorder) -> Result<Bytes, ProviderError> {
    match outbound::read(endpoint, body) {
        Ok(WholeAnswer { body, usage }) => {
            recorder.note_whole(usage);
            recorder.finish(CallOutcome::Completed);
            Ok(body)
        }
        Err(NoAnswer { fault, spent }) => {
            if let Some(usage) = spent {
                recorder.note_usage(usage);
            }
            let error = fault.into();
            recorder.fail(&error);
            Err(error)
        }
    }
}

/// A response that is not streamed goes to the caller as JSON, whatever content type the provider sent.
fn as_json(mut headers: HeaderMap) -> HeaderMap {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}
