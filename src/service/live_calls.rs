//! Calls by the credential that they were asked for with, streamed or not, so that they end when it does: a key is revoked or expires, a
//! session ends, a person is removed, which ends both.
//!
//! A call takes its place when it begins and gives it back when it is over; what a stream says in between passes nothing that is
//! shared.

use std::{
    collections::{HashMap, hash_map::Entry},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use moka::sync::Cache;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use uuid::Uuid;

use crate::domain::ids::{ApiKeyId, SessionId};

/// Parts of the map with a lock each.
const SHARDS: usize = 16;
/// Credentials whose end is remembered, for calls that were about to begin: their bodies may take half a minute to arrive.
const MAX_ENDED: u64 = 100_000;
const ENDED_FOR: Duration = Duration::from_hours(1);
/// The largest `total_timeout` there is: what is good for longer outlives its calls.
const LONGEST_CALL: Duration = Duration::from_hours(24);

/// What a call is made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Credential {
    Key(ApiKeyId),
    Session(SessionId),
}

impl Credential {
    /// Ids are random: those of keys and of sessions do not meet.
    fn id(self) -> Uuid {
        match self {
            Self::Key(key) => key.0,
            Self::Session(session) => session.0,
        }
    }
}

/// Credential -> its calls, each with a number and what ends it.
type Calls = HashMap<Uuid, Vec<(u64, CancellationToken)>>;

/// Cheap to clone. As large as there are calls, which admission bounds.
#[derive(Clone)]
pub struct LiveCalls(Arc<Inner>);

struct Inner {
    shards: [Mutex<Calls>; SHARDS],
    ended: Cache<Uuid, ()>,
    last_number: AtomicU64,
}

/// A call's place, until it is dropped.
pub struct LiveCall {
    calls: LiveCalls,
    credential: Uuid,
    number: u64,
    end: CancellationToken,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Of a credential that ends by itself, soon enough to matter.
    expiry: Option<Pin<Box<Sleep>>>,
}

impl Default for LiveCalls {
    fn default() -> Self {
        Self(Arc::new(Inner {
            shards: Default::default(),
            ended: Cache::builder().max_capacity(MAX_ENDED).time_to_live(ENDED_FOR).build(),
            last_number: AtomicU64::new(0),
        }))
    }
}

impl LiveCalls {
    /// With how long the credential is good for, if it ends by itself.
    pub fn enter(&self, credential: Credential, left: Option<Duration>) -> LiveCall {
        let credential = credential.id();
        let number = self.0.last_number.fetch_add(1, Ordering::Relaxed);
        let end = CancellationToken::new();
        self.shard(credential)
            .entry(credential)
            .or_default()
            .push((number, end.clone()));
        // Looked at after the place was taken: an end is either seen here or finds the place.
        if self.0.ended.contains_key(&credential) {
            end.cancel();
        }
        LiveCall {
            calls: self.clone(),
            credential,
            number,
            ended: Box::pin(end.clone().cancelled_owned()),
            end,
            expiry: left
                .filter(|left| *left <= LONGEST_CALL)
                .map(|left| Box::pin(tokio::time::sleep(left))),
        }
    }

    /// Ends the calls of a credential that is no longer good.
    pub fn end(&self, credential: Credential) {
        let credential = credential.id();
        self.0.ended.insert(credential, ());
        let calls = self.shard(credential).get(&credential).cloned().unwrap_or_default();
        for (_, end) in calls {
            end.cancel();
        }
    }

    fn shard(&self, credential: Uuid) -> MutexGuard<'_, Calls> {
        let [.., last] = *credential.as_bytes();
        self.0.shards[usize::from(last) % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl LiveCall {
    pub fn is_ended(&self) -> bool {
        self.end.is_cancelled() || self.expires().is_some_and(|at| at <= Instant::now())
    }

    fn expires(&self) -> Option<Instant> {
        self.expiry.as_ref().map(|expiry| expiry.deadline())
    }

    /// Ready once the credential is no longer good.
    pub fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let expired = self.expiry.as_mut().map(|expiry| expiry.as_mut().poll(context));
        if expired.is_some_and(|expired| expired.is_ready()) {
            return Poll::Ready(());
        }
        self.ended.as_mut().poll(context)
    }

    /// What the work gives, unless the credential ends before.
    pub async fn unless_ended<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let work = self.end.run_until_cancelled(work);
        match self.expires() {
            None => work.await,
            Some(at) => tokio::time::timeout_at(at, work).await.ok()?,
        }
    }
}

impl Drop for LiveCall {
    fn drop(&mut self) {
        let mut shard = self.calls.shard(self.credential);
        if let Entry::Occupied(mut calls) = shard.entry(self.credential) {
            calls.get_mut().retain(|(number, _)| *number != self.number);
            if calls.get().is_empty() {
                calls.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Credential, LiveCalls};
    use crate::domain::ids::{ApiKeyId, SessionId};

    fn places(calls: &LiveCalls) -> usize {
        calls.0.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }

    #[tokio::test]
    async fn what_a_credential_began_ends_with_it_and_nothing_else() {
        let calls = LiveCalls::default();
        let (key, session) = (ApiKeyId::generate(), SessionId::generate());
        let (key, session) = (Credential::Key(key), Credential::Session(session));
        let (first, second, other) = (
            calls.enter(key, None),
            calls.enter(key, None),
            calls.enter(session, None),
        );
        calls.end(key);
        assert!(first.is_ended() && second.is_ended() && !other.is_ended());
        assert_eq!(second.unless_ended(std::future::pending::<()>()).await, None);
        assert_eq!(other.unless_ended(async { 7 }).await, Some(7));
        assert!(calls.enter(key, None).is_ended(), "one that was about to begin");
        drop((first, second, other));
        assert_eq!(places(&calls), 0);
    }
}
