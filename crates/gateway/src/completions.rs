//! Calls to models: the only way to a provider, metered, for programs and people alike.
//!
//! Bodies pass as bytes. A request is parsed only as far as routing and metering need, and changed only where the upstream
//! must see something else: its own name for the model, and the request for usage in a stream.

mod ask;
pub mod cache_policy;
mod cached_call;
mod call;
mod failures;
mod fingerprints;
pub mod live;
pub mod metrics;
pub mod record;
pub mod shared;
pub mod stored;
pub mod stream;
mod tally;
mod upstream_request;
mod validation;

use std::sync::Arc;

use ::metrics::Counter;
use tokio_util::sync::CancellationToken;

use crate::{
    admission::{Admission, Permit},
    caches::{self, Caches},
    live_calls::LiveCalls,
    organizations::SettingsReader,
    usage::{Usage, UsageSlot},
};
use cache_policy::{AnswerSharing, CachePolicy};
pub use cache_policy::{CacheDirectives, CacheStatus};
use cached_call::InFlightCalls;
pub(crate) use call::NoCapacity;
pub use call::{Call, CallResponse, CallResult, CompletionError, Principal};
use concurrency::memory::{Allowance, Budget, Holder};
use domain::{clock::Clock, ids::OrganizationId, model::ModelKind, usage::CallOutcome};
use fingerprints::FingerprintCache;
use live::LiveStream;
pub use llm::openai::request::BadRequest;
use llm::openai::request::{Request, ResponseForm};
use llm::{Endpoint, sse};
use metrics::CompletionMetrics;
use provider::{
    ProviderReply, ProviderRequest, Registry,
    registry::{OpenCalls, Route},
};
use record::Recorder;
pub use stream::{AnswerStream, MeteredStream};
use telemetry::feature::Feature;
use telemetry::traces::{OpenSpan, Traces};
use upstream_request::{UpstreamRequest, as_json};

/// One pointer: the hot path clones it for every request.
#[derive(Clone)]
pub struct Completions(Arc<CompletionsInner>);

struct CompletionsInner {
    registry: Arc<Registry>,
    admission: Admission,
    usage: Usage,
    organizations: SettingsReader,
    metrics: CompletionMetrics,
    caches: Caches,
    in_flight_calls: InFlightCalls,
    fingerprints: FingerprintCache,
    /// Counters of programs' calls: chat and embeddings.
    uses: [Counter; 2],
    traces: Option<Traces>,
    clock: Clock,
    /// Cancelled when streams must end because the process is shutting down.
    stop: CancellationToken,
    live: LiveCalls,
}

impl Completions {
    #[expect(clippy::too_many_arguments, reason = "called once, by the composition root")]
    pub fn new(
        registry: Arc<Registry>,
        admission: Admission,
        usage: Usage,
        organizations: SettingsReader,
        caches: Caches,
        max_answer_bytes: usize,
        secret: [u8; 16],
        traces: Option<Traces>,
        clock: Clock,
        stop: CancellationToken,
        live: LiveCalls,
    ) -> Self {
        let metrics = CompletionMetrics::new(registry.routes().map(|route| &*route.model));
        Self(Arc::new(CompletionsInner {
            registry,
            admission,
            usage,
            organizations,
            metrics,
            caches,
            in_flight_calls: InFlightCalls::new(max_answer_bytes),
            fingerprints: FingerprintCache::new(secret),
            uses: [Feature::ProgramChat, Feature::ProgramEmbeddings].map(Feature::counter),
            traces,
            clock,
            stop,
            live,
        }))
    }

    /// Makes one call, or serves it from an identical one. Dropping the future, or the returned stream, ends the upstream
    /// call unless others share it; consumption until then is recorded all the same.
    pub async fn call(&self, call: Call) -> Result<CallResult, CompletionError> {
        if let Some(answered) = self.answer_by_fingerprint(&call).transpose() {
            self.note_use(&call);
            return answered;
        }
        let request = Request::read(&call.body, call.endpoint)?;
        self.note_use(&call);
        let route = match self.route(&request.model, call.endpoint) {
            Err(CompletionError::UnknownModel(_)) => {
                // A provider that was asked for its models at the start may be about to list this one.
                Box::pin(self.0.registry.first_look()).await;
                self.route(&request.model, call.endpoint)?
            }
            found => found?,
        };
        // Held until the answer has ended: background work on the same machine waits meanwhile.
        let open = route.upstream.open_calls.as_ref().map(OpenCalls::begin);
        // A call that outlives its credential ends with it.
        let left = call.principal.until.map(|until| until - self.0.clock.now());
        let left = left.map(|left| left.to_std().unwrap_or_default());
        let mut live = self.0.live.register(call.principal.credential, left);
        let answering = Box::pin(self.answer(&call, &request, route));
        let mut answered = live.unless_ended(answering).await.ok_or(CompletionError::Revoked)??;
        answered.answer = match answered.answer {
            CallResponse::Stream { headers, events } => CallResponse::Stream {
                headers,
                events: AnswerStream::Live(Box::new(LiveStream::new(events, live, open))),
            },
            // Some servers do not stream some models. OpenAI's clients find nothing in a response of the other form, and
            // raise no error.
            CallResponse::Whole { status, headers, body }
                if status.is_success() && request.form(call.endpoint).streamed =>
            {
                stored::as_stream(status, headers, body, request.include_usage)
            }
            whole @ CallResponse::Whole { .. } => whole,
        };
        Ok(answered)
    }

    async fn answer(&self, call: &Call, request: &Request<'_>, route: &Route) -> Result<CallResult, CompletionError> {
        if let Some(policy) = self.policy(call, request, route).await {
            let before = self.0.caches.answers.insert_count();
            if !policy.reload
                && let Some(answered) =
                    self.lookup_memory(call, request.form(call.endpoint), route, &policy.key, policy.max_age)?
            {
                self.0.fingerprints.keep(call, request, route, &policy);
                return Ok(answered);
            }
            // Boxed, so that calls that have nothing to wait for do not carry room for it.
            return Box::pin(self.answer_from_cache_or_upstream(call, request, route, policy, before)).await;
        }
        self.0.in_flight_calls.note(CacheStatus::Bypass);
        let answer = self.direct(call, request, route).await?;
        Ok(CallResult {
            answer,
            cache: CacheStatus::Bypass,
        })
    }

    /// The cache policy of a call, if it uses the cache.
    async fn policy(&self, call: &Call, request: &Request<'_>, route: &Route) -> Option<CachePolicy> {
        if !cache_policy::is_wanted(call, route, request) {
            return None;
        }
        let organization = call.principal.organization;
        let settings = caches::organization_key(organization);
        let settings_now = match self.0.organizations.cached(&settings) {
            Some(settings_now) => settings_now,
            // Boxed, as above.
            None => Box::pin(self.0.organizations.get(organization, settings)).await,
        };
        let shares = AnswerSharing {
            settings,
            is_shared: settings_now.share_answers,
        };
        cache_policy::policy_of(call, route, shares)
    }

    fn note_use(&self, call: &Call) {
        if call.principal.api_key.is_some() {
            self.0.uses[usize::from(call.endpoint == Endpoint::Embeddings)].increment(1);
        }
    }

    /// The memory budget for all bodies and responses.
    pub fn memory(&self) -> &Budget {
        self.0.admission.memory()
    }

    /// The call's share of that budget.
    fn allowance(&self, call: &Call) -> Allowance {
        self.memory().of(Holder::Organization(call.principal.organization.0))
    }

    /// Takes the slots that a call needs.
    async fn call_slots(&self, organization: OrganizationId) -> Result<CallSlots, NoCapacity> {
        let permit = self.0.admission.admit(organization).await?;
        Ok((Some(permit), self.0.usage.reserve()?))
    }

    /// The request to the provider, and its usage record.
    fn begin(
        &self,
        call_slots: CallSlots,
        call: &Call,
        route: &Route,
        upstream_request: UpstreamRequest,
    ) -> (ProviderRequest, Recorder) {
        let span = self.0.traces.as_ref().map(|traces| {
            let (model, provider) = (&route.model.id, &route.model.provider);
            traces.call(call.endpoint.operation(), model, provider, call.traceparent.as_ref())
        });
        let traceparent = span
            .as_ref()
            .and_then(OpenSpan::traceparent)
            .or_else(|| call.traceparent.clone());
        let mut recorder = self.recorder(call_slots, call, route, upstream_request.form);
        recorder.trace(span);
        let sent = recorder.not_before_sent();
        let request = ProviderRequest {
            memory: Some(self.allowance(call)),
            endpoint: call.endpoint,
            body: upstream_request.body,
            stream: upstream_request.form.streamed,
            traceparent,
            sent,
        };
        (request, recorder)
    }

    fn recorder(&self, call_slots: CallSlots, call: &Call, route: &Route, form: ResponseForm) -> Recorder {
        Recorder::start(call_slots, route, call, form, &self.0.metrics, &self.0.clock)
    }

    async fn direct(&self, call: &Call, request: &Request<'_>, route: &Route) -> Result<CallResponse, CompletionError> {
        let call_slots = self.call_slots(call.principal.organization).await?;
        let upstream_request = UpstreamRequest::of(call, request, route);
        let has_added_usage = upstream_request.has_added_usage;
        let (upstream_request, mut recorder) = self.begin(call_slots, call, route, upstream_request);
        let withhold_usage = upstream_request.stream && !request.include_usage;
        match ask::ask(&route.upstream, upstream_request, has_added_usage).await {
            Ok(ProviderReply::Whole { status, headers, body }) => {
                let (headers, body) = if status.is_success() {
                    let body = validation::whole(call.endpoint, body.clone()).inspect_err(|error| {
                        if let Some(usage) = validation::spent(&body) {
                            recorder.note_usage(usage);
                        }
                        recorder.fail(error);
                    })?;
                    recorder.note_whole(sse::usage_of_body(&body, call.endpoint == Endpoint::ChatCompletions));
                    recorder.finish(CallOutcome::Completed);
                    (as_json(headers), body)
                } else {
                    recorder.refuse(status);
                    (headers, body)
                };
                Ok(CallResponse::Whole { status, headers, body })
            }
            Ok(ProviderReply::Events { headers, events }) => {
                let events = MeteredStream::new(
                    events,
                    validation::StreamValidator::of(request.choices),
                    recorder,
                    withhold_usage,
                    self.0.stop.clone(),
                );
                Ok(CallResponse::Stream {
                    headers,
                    events: AnswerStream::Metered(Box::pin(events)),
                })
            }
            Err(error) => {
                recorder.fail(&error);
                Err(error.into())
            }
        }
    }

    fn route(&self, model: &str, endpoint: Endpoint) -> Result<&Route, CompletionError> {
        // A caller's text in an error message is bounded, whatever the body limit is.
        let shown = || model.chars().take(128).collect::<String>();
        let route = self
            .0
            .registry
            .route(model)
            .ok_or_else(|| CompletionError::UnknownModel(shown()))?;
        let upstream_request = match endpoint {
            Endpoint::ChatCompletions => ModelKind::Chat,
            Endpoint::Embeddings => ModelKind::Embedding,
        };
        if route.model.kind == upstream_request {
            Ok(route)
        } else {
            Err(CompletionError::WrongKind {
                model: shown(),
                kind: route.model.kind.as_str(),
            })
        }
    }
}

/// A place in flight, unless the answer is another call's, and one for the record.
type CallSlots = (Option<Permit>, UsageSlot);
