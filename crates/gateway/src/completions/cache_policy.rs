//! Decides whether a call may be served from the cache, and under which key its answer is stored.

use std::{borrow::Cow, time::Duration};

use super::Call;
use cache::{Class, Key, Value as _, key::KeyBuilder};
use domain::{ids::UserId, model::Caching};
use llm::Endpoint;
use llm::{canonical::canonical, inbound::openai::RequestView};
use provider::registry::Route;

use super::stored::StoredAnswer;

/// The caller's cache directives (Cache-Control of a request, RFC 9111 5.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheDirectives {
    /// `no-cache`: call the model, and store its answer.
    pub reload: bool,
    /// `no-store`: neither use a stored answer nor store this one.
    pub no_store: bool,
    /// `max-age`: accept no older answer.
    pub max_age: Option<Duration>,
}

/// What the cache did for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheStatus {
    /// The answer was cached `age` ago.
    Hit { age: Duration },
    /// The model was called; its answer is stored if it is complete.
    Miss,
    /// The call joined an identical call in flight.
    Coalesced,
    /// The cache was not used.
    Bypass,
}

impl CacheStatus {
    pub const ALL: [&'static str; 4] = ["hit", "miss", "coalesced", "bypass"];

    pub fn as_str(self) -> &'static str {
        Self::ALL[self.index()]
    }

    pub(super) fn index(self) -> usize {
        match self {
            Self::Hit { .. } => 0,
            Self::Miss => 1,
            Self::Coalesced => 2,
            Self::Bypass => 3,
        }
    }
}

/// How the cache serves one call.
pub(super) struct CachePolicy {
    pub(super) key: Key,
    pub(super) reload: bool,
    pub(super) max_age: Option<Duration>,
}

/// Whether answers are shared within the organisation.
#[derive(Debug, Clone, Copy)]
pub(super) struct AnswerSharing {
    /// Shared by all people of the organisation; otherwise each person has separate entries.
    pub(super) is_shared: bool,
}

/// Body fields that do not change the answer, or that another part of the key represents.
const WITHOUT: [&str; 5] = ["model", "stream", "stream_options", "user", "metadata"];

/// Whether a call uses the cache.
pub(super) fn is_wanted(call: &Call, route: &Route, view: &RequestView<'_>) -> bool {
    // Every field is named, so that a new one does not compile until its place in the key is decided.
    let RequestView {
        model: _,
        form: _,
        raw_model: _,
        raw_stream_options: _,
        members: _,
        // These two are in the body, which is in the key.
        repeatable,
        choices: _,
        kept_upstream,
    } = view;
    let wanted = match route.model.caching {
        Caching::Off => false,
        Caching::All => true,
        Caching::Deterministic => *repeatable || call.endpoint == Endpoint::Embeddings,
    };
    wanted && !call.cache_directives.no_store && !*kept_upstream
}

/// The policy of a call that [`is_wanted`]. A hit and its age reveal that the same request was made before, and when. Therefore
/// the key contains the person (the creator of the API key), unless the organisation shares answers.
pub(super) fn policy_of(
    call: &Call,
    view: &RequestView<'_>,
    route: &Route,
    shares: AnswerSharing,
) -> Option<CachePolicy> {
    let Call {
        principal, endpoint, ..
    } = call;
    let UserId(person) = principal.user;
    let person = if shares.is_shared { &[][..] } else { person.as_bytes() };
    let identity = route.identity();
    let identity = match route.upstream.provider.edition()? {
        0 => Cow::Borrowed(&identity[..]),
        edition => [&identity[..], &edition.to_le_bytes()].concat().into(),
    };
    let key = KeyBuilder::new(Class::Answer, StoredAnswer::SCHEMA, principal.organization.into())
        .field(person)
        .field(endpoint.operation())
        .field(&*identity)
        .field(canonical(view.members.as_ref()?, &WITHOUT)?)
        .build();
    Some(CachePolicy {
        key,
        reload: call.cache_directives.reload,
        max_age: call.cache_directives.max_age,
    })
}
