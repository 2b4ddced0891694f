//! Calls to models: the only way to a provider, metered, for programs and people alike.
//!
//! Bodies pass as bytes. A request is parsed only as far as routing and metering need, and changed only where the upstream
//! must see something else: its own name for the model, and the request for usage in a stream.

mod answer_cache;
mod attempt;
pub mod cache_policy;
mod call;
mod failures;
mod metered;
pub mod metrics;
mod pipeline;
mod policy;
pub mod record;
mod shared;
pub mod stored;
pub mod stream;
mod tally;

use std::sync::Arc;

use ::metrics::Counter;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admission::Admission,
    caches::{self, Caches},
    live_calls::LiveCalls,
    organizations::SettingsReader,
    usage::Usage,
};
use answer_cache::InFlightCalls;
use cache_policy::AnswerSharing;
pub use cache_policy::{CacheDirectives, CacheStatus};
pub(crate) use call::NoCapacity;
pub use call::{Call, CallResponse, CallResult, CompletionError};
use concurrency::memory::{Allowance, Budget, Holder};
use domain::{clock::Clock, ids::OrganizationId};
pub use llm::inbound::openai::BadRequest;
use metrics::CompletionMetrics;
use provider::Registry;
pub use stream::AnswerStream;
use telemetry::{feature::Feature, traces::Traces};

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
    /// Counters of programs' calls: chat and embeddings.
    uses: [Counter; 2],
    traces: Option<Traces>,
    clock: Clock,
    /// Cancelled when streams must end because the process is shutting down.
    stop: CancellationToken,
    /// The tasks that make shared calls; a stop waits for their records.
    leaders: TaskTracker,
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
        traces: Option<Traces>,
        clock: Clock,
        stop: CancellationToken,
        leaders: TaskTracker,
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
            uses: [Feature::ProgramChat, Feature::ProgramEmbeddings].map(Feature::counter),
            traces,
            clock,
            stop,
            leaders,
            live,
        }))
    }

    /// The memory budget for all bodies and responses.
    pub fn memory(&self) -> &Budget {
        self.0.admission.memory()
    }

    /// The call's share of that budget.
    fn allowance(&self, call: &Call) -> Allowance {
        self.memory().of(Holder::Organization(call.principal.organization.0))
    }

    /// Whether answers are shared within the organisation.
    async fn sharing(&self, organization: OrganizationId) -> AnswerSharing {
        let settings = caches::organization_key(organization);
        let settings_now = match self.0.organizations.cached(&settings) {
            Some(settings_now) => settings_now,
            // Boxed, so that calls that have nothing to wait for do not carry room for it.
            None => Box::pin(self.0.organizations.get(organization, settings)).await,
        };
        AnswerSharing {
            is_shared: settings_now.share_answers,
        }
    }
}
