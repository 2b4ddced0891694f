//! One attempt: a call to one target, from its admission to its usage record.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use memchr::memmem;

use super::{Call, CompletionError, Completions, NoCapacity, metered::MeteredStream, record::Recorder};
use crate::{admission::Permit, usage::UsageSlot};
use domain::{ids::OrganizationId, tokens::TokenUsage, usage::CallOutcome};
use llm::{
    Endpoint,
    inbound::openai::{RequestView, ResponseForm, without_added_usage},
    outbound::openai::{answer, chunk},
};
use provider::{
    ProviderError, ProviderReply, ProviderRequest,
    registry::{Route, Upstream},
};
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
        let form = view.form;
        let adds_usage = form.streamed && !form.include_usage && target.upstream.asks_for_usage();
        let body = view.for_upstream(&call.body, &target.model.upstream, adds_usage);
        Self {
            call: Call { body, ..call.clone() },
            target: target.clone(),
            form,
            choices: view.choices,
            has_added_usage: adds_usage && view.raw_stream_options.is_none(),
        }
    }
}

impl Completions {
    /// Waits for the slots that the call needs, asks the target, and records what that came to. A stream records itself. `withhold_usage`
    /// leaves out counts that the caller did not ask for.
    pub(super) async fn attempt(&self, attempt: Attempt, withhold_usage: bool) -> Result<Attempted, CompletionError> {
        let call_slots = self.call_slots(attempt.call.principal.organization).await?;
        let (request, mut recorder) = self.begin(call_slots, &attempt);
        match ask(&attempt.target.upstream, request, attempt.has_added_usage).await {
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
            body: call.body.clone(),
            stream: form.streamed,
            choices: attempt.choices,
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
    match answer::whole(endpoint, body.clone()) {
        Ok(body) => {
            recorder.note_whole(chunk::usage_of_body(&body, endpoint == Endpoint::ChatCompletions));
            recorder.finish(CallOutcome::Completed);
            Ok(body)
        }
        Err(fault) => {
            if let Some(usage) = answer::spent(body) {
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

/// Sends the request. If it carries a wish for usage that the caller knows nothing of, and the upstream refuses it for that (as
/// some servers do: openai/openai-agents-python #442), it is sent once more without, and later ones never carry it.
async fn ask(
    upstream: &Upstream,
    request: ProviderRequest,
    has_added_usage: bool,
) -> Result<ProviderReply, ProviderError> {
    if !has_added_usage {
        return upstream.provider.send(request).await;
    }
    let again = request.clone();
    let reply = upstream.provider.send(request).await?;
    if !refuses_usage(&reply) {
        return Ok(reply);
    }
    let body = without_added_usage(&again.body);
    let reply = upstream.provider.send(ProviderRequest { body, ..again }).await?;
    let is_taken = match &reply {
        ProviderReply::Whole { status, .. } => status.is_success(),
        ProviderReply::Stream { .. } => true,
    };
    if is_taken && upstream.stop_asking_for_usage() {
        tracing::warn!(
            target: "mapleai::providers",
            provider = upstream.provider.name(),
            "the provider refuses stream_options; its streams are estimated from now on. usage_in_streams = false saves the attempt"
        );
    }
    Ok(reply)
}

fn refuses_usage(reply: &ProviderReply) -> bool {
    const STATUSES: [StatusCode; 2] = [StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY];
    let ProviderReply::Whole { status, body, .. } = reply else {
        return false;
    };
    STATUSES.contains(status) && memmem::find(body, b"stream_options").is_some()
}
