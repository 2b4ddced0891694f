//! Calls by the credential that they were asked for with, streamed or not, so that they end when it does: a key is revoked or expires, a
//! session ends, a person is removed, which ends both.
//!
//! A call takes its place when it begins and gives it back when it is over. Calls of one credential share what tells them of its end:
//! in between, a call takes a lock only where it waits for the first time.

use std::{
    collections::{VecDeque, hash_map::Entry},
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use foldhash::HashMap;
use tokio::{
    sync::{Notify, futures::OwnedNotified},
    time::{Instant, Sleep},
};
use uuid::Uuid;

use domain::principal::Credential;

/// Parts of the map with a lock each.
const SHARDS: usize = 16;
/// Credentials of a shard whose end is remembered, for calls that were about to begin: their bodies may take ten minutes
/// to arrive.
const MAX_ENDED: usize = 100_000 / SHARDS;
const ENDED_FOR: Duration = Duration::from_hours(1);
/// The largest `total_timeout` there is: what is good for longer outlives its calls.
const MAX_CALL_DURATION: Duration = Duration::from_hours(24);

/// The state that all calls of one credential share.
#[derive(Default)]
struct CredentialState {
    /// Never reset. Set before `end` wakes the waiting calls.
    is_ended: AtomicBool,
    end: Arc<Notify>,
}

impl CredentialState {
    fn is_ended(&self) -> bool {
        self.is_ended.load(Ordering::Acquire)
    }
}

#[derive(Default)]
struct CredentialCalls {
    state: Arc<CredentialState>,
    calls: usize,
}

#[derive(Default)]
struct Shard {
    /// Credentials with calls in flight, and recently ended ones.
    by_credential: HashMap<Uuid, CredentialCalls>,
    /// The recently ended ones, oldest first.
    ended: VecDeque<(Instant, Uuid)>,
}

/// Cheap to clone. Its size is bounded by admission and by [`MAX_ENDED`].
#[derive(Clone, Default)]
pub struct LiveCalls(Arc<[Mutex<Shard>; SHARDS]>);

/// One registered call, until dropped.
pub struct LiveCall {
    calls: LiveCalls,
    credential: Uuid,
    state: Arc<CredentialState>,
    /// The task that the credential's end wakes, once it has waited.
    waiting: Option<(Waker, Pin<Box<OwnedNotified>>)>,
    /// Set if the credential expires within the longest call.
    expiry: Option<Pin<Box<Sleep>>>,
}

impl LiveCalls {
    /// Registers a call. `left` is the time until the credential expires, if it does.
    pub fn register(&self, credential: Credential, left: Option<Duration>) -> LiveCall {
        let credential = credential.id();
        let state = {
            let mut shard = self.shard(credential);
            let credential_calls = shard.by_credential.entry(credential).or_default();
            credential_calls.calls += 1;
            Arc::clone(&credential_calls.state)
        };
        LiveCall {
            calls: self.clone(),
            credential,
            state,
            waiting: None,
            expiry: left
                .filter(|left| *left <= MAX_CALL_DURATION)
                .map(|left| Box::pin(tokio::time::sleep(left))),
        }
    }

    /// Ends the calls of a revoked credential.
    pub fn end(&self, credential: Credential) {
        let credential = credential.id();
        let state = self.shard(credential).end(credential, Instant::now());
        state.end.notify_waiters();
    }

    fn shard(&self, credential: Uuid) -> MutexGuard<'_, Shard> {
        let [.., last] = *credential.as_bytes();
        self.0[usize::from(last) % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn end(&mut self, credential: Uuid, now: Instant) -> Arc<CredentialState> {
        let state = Arc::clone(&self.by_credential.entry(credential).or_default().state);
        if !state.is_ended.swap(true, Ordering::AcqRel) {
            self.ended.push_back((now, credential));
        }
        let is_old = |(at, _): &(Instant, Uuid)| now.saturating_duration_since(*at) > ENDED_FOR;
        while self.ended.len() > MAX_ENDED || self.ended.front().is_some_and(is_old) {
            if let Some((_, forgotten)) = self.ended.pop_front() {
                self.by_credential.remove(&forgotten);
            }
        }
        state
    }
}

impl LiveCall {
    pub fn is_ended(&self) -> bool {
        self.state.is_ended()
            || self
                .expiry
                .as_ref()
                .is_some_and(|expiry| expiry.deadline() <= Instant::now())
    }

    /// Ready once the credential has ended.
    pub fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // A stream waits for each of its events: the one that is to be woken already is not put down anew.
        let waker = context.waker();
        match &mut self.waiting {
            Some((registered, _)) if registered.will_wake(waker) => {}
            waiting => {
                let notified = waiting.take().map(|(_, notified)| notified);
                let mut notified = notified.unwrap_or_else(|| Box::pin(Arc::clone(&self.state.end).notified_owned()));
                // An end in the meantime is seen below.
                _ = notified.as_mut().poll(context);
                *waiting = Some((context.waker().clone(), notified));
            }
        }
        let expired = self.expiry.as_mut().map(|expiry| expiry.as_mut().poll(context));
        if self.state.is_ended() || expired.is_some_and(|expired| expired.is_ready()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// The result of `work`, or `None` if the credential ends first.
    pub async fn unless_ended<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|context| {
            if self.is_ended() {
                return Poll::Ready(None);
            }
            match work.as_mut().poll(context) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending => self.poll_ended(context).map(|()| None),
            }
        })
        .await
    }
}

impl Drop for LiveCall {
    fn drop(&mut self) {
        let mut shard = self.calls.shard(self.credential);
        // What has ended is forgotten in its time, and may have been.
        if self.state.is_ended() {
            return;
        }
        if let Entry::Occupied(mut credential_calls) = shard.by_credential.entry(self.credential) {
            credential_calls.get_mut().calls -= 1;
            if credential_calls.get().calls == 0 {
                credential_calls.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests;
