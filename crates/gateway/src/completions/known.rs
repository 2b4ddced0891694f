//! Calls recognised by their bytes.
//!
//! Who asks the same again mostly sends the same bytes. Reading them, and finding the key of their answer, took three tenths
//! of a hit's instructions; so what came of it is kept by a hash of the bytes, once they have been answered from memory (decision 0020).
//! Nothing of the bytes themselves is kept, and what is held, for how long and for whom is decided by the cache of answers alone.

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

/// Calls that are recognised at a time, of some 250 bytes each.
const MAX_ENTRIES: usize = 8192;
/// Hashing what is longer is work of its own, for calls that nobody has made before. In bytes.
const MAX_BODY_BYTES: usize = 16 * 1024;

pub(super) struct Known {
    readings: Cache<Mark, Arc<Reading>>,
    /// With the process's secret: whoever does not know it cannot make two bodies with one hash, which has 128 bits.
    hasher: SipHasher13,
    /// Nothing is hashed before there is something to be found.
    is_used: AtomicBool,
}

/// What a call is recognised by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Mark {
    organization: OrganizationId,
    user: UserId,
    endpoint: Endpoint,
    body: u128,
}

/// What came of reading it.
pub(super) struct Reading {
    pub(super) key: Key,
    shares: AnswerSharing,
    pub(super) form: ResponseForm,
    /// By the name that was asked for.
    pub(super) model: Box<str>,
    route: (Arc<Model>, Arc<Upstream>),
    edition: Option<u64>,
}

impl Completions {
    /// What is held for a call whose very bytes have been answered from memory before.
    pub(super) fn known(&self, call: &Call) -> Result<Option<CallResult>, CompletionError> {
        let Some(reading) = self.0.known.find(call) else {
            return Ok(None);
        };
        // The key is another one when it has been settled otherwise who is given whose answers, which takes effect at once.
        let settings = self.0.organizations.cached(&reading.shares.settings);
        if settings.is_none_or(|settings| settings.share_answers != reading.shares.is_shared) {
            return Ok(None);
        }
        match self.0.registry.route(&reading.model) {
            Some(route) if reading.is_of(route) => self.lookup_memory(call, reading.form, route, &reading.key, None),
            _ => Ok(None),
        }
    }
}

impl Reading {
    /// Whether the model is still who it was: another one has another key.
    pub(super) fn is_of(&self, route: &Route) -> bool {
        Arc::ptr_eq(&self.route.0, &route.model)
            && Arc::ptr_eq(&self.route.1, &route.upstream)
            && self.edition == route.upstream.provider.edition()
    }
}

impl Known {
    /// `secret` is random.
    pub(super) fn new(secret: [u8; 16]) -> Self {
        Self {
            readings: Cache::new(MAX_ENTRIES),
            hasher: SipHasher13::new_with_key(&secret),
            is_used: AtomicBool::new(false),
        }
    }

    pub(super) fn find(&self, call: &Call) -> Option<Arc<Reading>> {
        if !self.is_used.load(Ordering::Relaxed) {
            return None;
        }
        self.readings.get(&self.mark(call)?)
    }

    /// For a call that was answered from memory by `policy`.
    pub(super) fn keep(&self, call: &Call, request: &Request<'_>, route: &Route, policy: &CachePolicy) {
        let Some(mark) = self.mark(call) else { return };
        let reading = Reading {
            key: policy.key,
            shares: policy.shares,
            form: request.form(call.endpoint),
            model: (*request.model).into(),
            route: (Arc::clone(&route.model), Arc::clone(&route.upstream)),
            edition: route.upstream.provider.edition(),
        };
        self.readings.insert(mark, Arc::new(reading));
        self.is_used.store(true, Ordering::Relaxed);
    }

    fn mark(&self, call: &Call) -> Option<Mark> {
        // Every field is named: a new one does not compile until somebody decides whether it makes another call.
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
        Some(Mark {
            organization: *organization,
            user: *user,
            endpoint: *endpoint,
            body: hasher.finish128().as_u128(),
        })
    }
}

#[cfg(test)]
mod tests;
