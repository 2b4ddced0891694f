//! Whether a call may be answered by an earlier one's answer, and under which key that is remembered.

use std::{borrow::Cow, time::Duration};

use super::{Call, canonical::canonical, request::Request};
use crate::{
    cache::{Class, Key, Value as _, key::KeyBuilder},
    domain::{ids::UserId, model::Caching},
    provider::{Endpoint, registry::Route},
};

use super::stored::StoredAnswer;

/// What the caller asks of caches (Cache-Control of a request, RFC 9111 5.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Freshness {
    /// `no-cache`: ask the model, and remember its answer.
    pub reload: bool,
    /// `no-store`: neither take a remembered answer nor remember this one.
    pub no_store: bool,
    /// `max-age`: take no older one.
    pub max_age: Option<Duration>,
}

/// What the cache did for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheStatus {
    /// The answer was remembered, for so long.
    Hit { age: Duration },
    /// The model was asked; the answer will be remembered if it is whole.
    Miss,
    /// The answer of a call under way is shared.
    Coalesced,
    /// The cache was not asked.
    Bypass,
}

impl CacheStatus {
    pub const ALL: [&'static str; 4] = ["hit", "miss", "coalesced", "bypass"];

    pub fn as_str(self) -> &'static str {
        Self::ALL[self.place()]
    }

    pub(super) fn place(self) -> usize {
        match self {
            Self::Hit { .. } => 0,
            Self::Miss => 1,
            Self::Coalesced => 2,
            Self::Bypass => 3,
        }
    }
}

/// A call that the cache is for.
pub(super) struct Plan {
    pub(super) key: Key,
    pub(super) shares: Shares,
    pub(super) reload: bool,
    pub(super) max_age: Option<Duration>,
}

/// Among whom answers are shared, and where that is settled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares {
    /// [`caches::organization_key`](crate::service::caches::organization_key)'s.
    pub(super) settings: Key,
    /// Among all people of the organisation; otherwise everybody is given the own ones.
    pub(super) is_shared: bool,
}

/// Fields of a body that do not change the answer, or for which something else stands in the key.
const WITHOUT: [&str; 5] = ["model", "stream", "stream_options", "user", "metadata"];

/// Whether a call has anything to do with the cache.
pub(super) fn is_wanted(call: &Call, route: &Route, request: &Request<'_>) -> bool {
    // Every field is named: a new one does not compile until somebody decides whether it belongs into the key.
    let Request {
        model: _,
        stream: _,
        include_usage: _,
        input_bytes: _,
        raw_model: _,
        raw_stream_options: _,
        // These two are in the body, which is in the key.
        repeatable,
        choices: _,
        kept_upstream,
    } = request;
    let wanted = match route.model.caching {
        Caching::Off => false,
        Caching::All => true,
        Caching::Deterministic => *repeatable || call.endpoint == Endpoint::Embeddings,
    };
    wanted && !call.freshness.no_store && !*kept_upstream
}

/// For a call that [`is_wanted`]. A hit and its age tell that somebody asked exactly this, and when: so the key has the person (whoever
/// made the API key), unless the organisation shares answers.
pub(super) fn plan(call: &Call, route: &Route, shares: Shares) -> Option<Plan> {
    let Call { account, endpoint, .. } = call;
    let text = std::str::from_utf8(&call.body).ok()?;
    let UserId(person) = account.user;
    let person = if shares.is_shared { &[][..] } else { person.as_bytes() };
    let identity = route.upstream.identity.as_bytes();
    let identity = match route.upstream.provider.edition()? {
        0 => Cow::Borrowed(identity),
        edition => [identity, &edition.to_le_bytes()].concat().into(),
    };
    let key = KeyBuilder::new(Class::Answer, StoredAnswer::SCHEMA, account.organization.into())
        .field(person)
        .field(endpoint.path())
        .field(&*route.model.provider)
        .field(&*identity)
        .field(&*route.model.upstream)
        .field(canonical(text, &WITHOUT)?)
        .build();
    Some(Plan {
        key,
        shares,
        reload: call.freshness.reload,
        max_age: call.freshness.max_age,
    })
}
