//! Recognises repeated calls by a fingerprint of their bytes.
//!
//! Repeated requests are usually byte-identical. After a memory hit the parsed request is cached under a keyed hash of its
//! bytes, so the next one skips parsing, which took three tenths of a hit's instructions (decision 0020). The bytes themselves
//! are not stored, and the answer cache alone decides which answers exist, for how long and for whom.

use llm::openai::request::{Request, ResponseForm};
use std::{
    hash::Hasher as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use quick_cache::sync::Cache;
use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::{
    CacheDirectives, Call, CallResult, CompletionError, Completions, Principal,
    cache_policy::{AnswerSharing, CachePolicy},
};
use cache::Key;
use domain::{
    ids::{OrganizationId, UserId},
    model::Model,
};
use llm::Endpoint;
use provider::registry::{Route, Upstream};

/// Cached fingerprints, of some 250 bytes each.
const MAX_ENTRIES: usize = 8192;
/// Longer bodies are not hashed: hashing them would cost every new call too much.
const MAX_BODY_BYTES: usize = 16 * 1024;

pub(super) struct FingerprintCache {
    requests: Cache<RequestFingerprint, Arc<ParsedRequest>>,
    /// Keyed with a secret of the process, so that callers cannot construct collisions of the 128-bit hash.
    hasher: SipHasher13,
    /// Set by the first insert; before it no call is hashed.
    is_used: AtomicBool,
}

/// The identity of a repeated call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct RequestFingerprint {
    organization: OrganizationId,
    user: UserId,
    endpoint: Endpoint,
    body: u128,
}

/// The result of parsing a request.
pub(super) struct ParsedRequest {
    pub(super) key: Key,
    shares: AnswerSharing,
    pub(super) form: ResponseForm,
    /// The model name in the request.
    pub(super) model: Box<str>,
    route: (Arc<Model>, Arc<Upstream>),
    edition: Option<u64>,
}

impl Completions {
    /// Serves a call from memory if the same bytes were served from memory before.
    pub(super) fn answer_by_fingerprint(&self, call: &Call) -> Result<Option<CallResult>, CompletionError> {
        let Some(parsed) = self.0.fingerprints.find(call) else {
            return Ok(None);
        };
        // The key depends on whether the organisation shares answers; a change of that setting takes effect at once.
        let settings = self.0.organizations.cached(&parsed.shares.settings);
        if settings.is_none_or(|settings| settings.share_answers != parsed.shares.is_shared) {
            return Ok(None);
        }
        match self.0.registry.route(&parsed.model) {
            Some(route) if parsed.is_of(route) => self.lookup_memory(call, parsed.form, route, &parsed.key, None),
            _ => Ok(None),
        }
    }
}

impl ParsedRequest {
    /// Whether the route still is the same: another one has another key.
    pub(super) fn is_of(&self, route: &Route) -> bool {
        Arc::ptr_eq(&self.route.0, &route.model)
            && Arc::ptr_eq(&self.route.1, &route.upstream)
            && self.edition == route.upstream.provider.edition()
    }
}

impl FingerprintCache {
    /// `secret` is random.
    pub(super) fn new(secret: [u8; 16]) -> Self {
        Self {
            requests: Cache::new(MAX_ENTRIES),
            hasher: SipHasher13::new_with_key(&secret),
            is_used: AtomicBool::new(false),
        }
    }

    pub(super) fn find(&self, call: &Call) -> Option<Arc<ParsedRequest>> {
        if !self.is_used.load(Ordering::Relaxed) {
            return None;
        }
        self.requests.get(&self.fingerprint(call)?)
    }

    /// For a call that was answered from memory by `policy`.
    pub(super) fn keep(&self, call: &Call, request: &Request<'_>, route: &Route, policy: &CachePolicy) {
        let Some(fingerprint) = self.fingerprint(call) else {
            return;
        };
        let parsed = ParsedRequest {
            key: policy.key,
            shares: policy.shares,
            form: request.form(call.endpoint),
            model: (*request.model).into(),
            route: (Arc::clone(&route.model), Arc::clone(&route.upstream)),
            edition: route.upstream.provider.edition(),
        };
        self.requests.insert(fingerprint, Arc::new(parsed));
        self.is_used.store(true, Ordering::Relaxed);
    }

    fn fingerprint(&self, call: &Call) -> Option<RequestFingerprint> {
        // Every field is named, so that a new one does not compile until its place in the fingerprint is decided.
        let Call {
            endpoint,
            principal:
                Principal {
                    organization,
                    user,
                    api_key: _,
                    credential: _,
                    until: _,
                },
            body,
            traceparent: _,
            arrived: _,
            cache_directives,
        } = call;
        if *cache_directives != CacheDirectives::default() || body.len() > MAX_BODY_BYTES {
            return None;
        }
        let mut hasher = self.hasher;
        hasher.write(body);
        Some(RequestFingerprint {
            organization: *organization,
            user: *user,
            endpoint: *endpoint,
            body: hasher.finish128().as_u128(),
        })
    }
}

#[cfg(test)]
mod tests;
