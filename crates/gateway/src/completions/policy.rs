//! What may refuse a call before anything is answered, from the caches too; permissions, limits and budgets belong here. Policy asks only the
//! principal, for what and of which target; what a call takes, it reserves here and settles when it ends.

use super::{Call, CompletionError, Completions};
use crate::live_calls::LiveCall;
use domain::model::ModelKind;
use llm::Endpoint;
use provider::registry::{OpenCall, OpenCalls, Route};

/// A call that may be answered, and what it holds until it has ended. Dropping it settles that.
pub(super) struct Approval {
    /// A call that outlives its credential ends with it.
    pub(super) live: LiveCall,
    /// Background work on the same machine waits meanwhile.
    pub(super) open: Option<OpenCall>,
}

impl Completions {
    /// Approves a call to `target`, or refuses it.
    pub(super) fn approve(&self, call: &Call, target: &Route) -> Result<Approval, CompletionError> {
        let needed = match call.endpoint {
            Endpoint::ChatCompletions => ModelKind::Chat,
            Endpoint::Embeddings => ModelKind::Embedding,
        };
        if target.model.kind != needed {
            return Err(CompletionError::WrongKind {
                model: target.model.id.to_string(),
                kind: target.model.kind.as_str(),
            });
        }
        let left = call.principal.until.map(|until| until - self.0.clock.now());
        let left = left.map(|left| left.to_std().unwrap_or_default());
        Ok(Approval {
            live: self.0.live.register(call.principal.credential, left),
            open: target.upstream.open_calls.as_ref().map(OpenCalls::begin),
        })
    }
}
