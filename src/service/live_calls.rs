//! Calls by the credential that they were asked for with, streamed or not, so that they end when it does: a key is revoked or expires, a
//! session ends, a person is removed, which ends both.
//!
//! A call takes its place when it begins and gives it back when it is over. Calls of one credential share what tells them of its end:
//! in between, a call takes a lock only where it waits for the first time.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    sync::{Notify, futures::OwnedNotified},
    time::{Instant, Sleep},
};
use uuid::Uuid;

use crate::domain::ids::{ApiKeyId, SessionId};

/// Parts of the map with a lock each.
const SHARDS: usize = 16;
/// Credentials of a shard whose end is remembered, for calls that were about to begin: their bodies may take ten minutes
/// to arrive.
const MAX_ENDED: usize = 100_000 / SHARDS;
const ENDED_FOR: Duration = Duration::from_hours(1);
/// The largest `total_timeout` there is: what is good for longer outlives its calls.
const MAX_CALL_DURATION: Duration = Duration::from_hours(24);

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

/// What the calls of one credential share.
#[derive(Default)]
struct Standing {
    /// Never unset. Set before `end` wakes who waits.
    is_ended: AtomicBool,
    end: Arc<Notify>,
}

impl Standing {
    fn is_ended(&self) -> bool {
        self.is_ended.load(Ordering::Acquire)
    }
}

#[derive(Default)]
struct Place {
    standing: Arc<Standing>,
    calls: usize,
}

#[derive(Default)]
struct Shard {
    /// Of credentials with calls under way, and of those whose end is remembered.
    places: HashMap<Uuid, Place>,
    /// Those of the latter, the oldest first.
    ended: VecDeque<(Instant, Uuid)>,
}

/// Cheap to clone. As large as there are calls, which admission bounds, and ends that are remembered.
#[derive(Clone, Default)]
pub struct LiveCalls(Arc<[Mutex<Shard>; SHARDS]>);

/// A call's place, until it is dropped.
pub struct LiveCall {
    calls: LiveCalls,
    credential: Uuid,
    standing: Arc<Standing>,
    /// Whom the credential's end wakes, once there was something to wait for.
    waiting: Option<(Waker, Pin<Box<OwnedNotified>>)>,
    /// Of a credential that ends by itself, soon enough to matter.
    expiry: Option<Pin<Box<Sleep>>>,
}

impl LiveCalls {
    /// With how long the credential is good for, if it ends by itself.
    pub fn enter(&self, credential: Credential, left: Option<Duration>) -> LiveCall {
        let credential = credential.id();
        let standing = {
            let mut shard = self.shard(credential);
            let place = shard.places.entry(credential).or_default();
            place.calls += 1;
            Arc::clone(&place.standing)
        };
        LiveCall {
            calls: self.clone(),
            credential,
            standing,
            waiting: None,
            expiry: left
                .filter(|left| *left <= MAX_CALL_DURATION)
                .map(|left| Box::pin(tokio::time::sleep(left))),
        }
    }

    /// Ends the calls of a credential that is no longer good.
    pub fn end(&self, credential: Credential) {
        let credential = credential.id();
        let standing = self.shard(credential).end(credential, Instant::now());
        standing.end.notify_waiters();
    }

    fn shard(&self, credential: Uuid) -> MutexGuard<'_, Shard> {
        let [.., last] = *credential.as_bytes();
        self.0[usize::from(last) % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn end(&mut self, credential: Uuid, now: Instant) -> Arc<Standing> {
        let standing = Arc::clone(&self.places.entry(credential).or_default().standing);
        if !standing.is_ended.swap(true, Ordering::AcqRel) {
            self.ended.push_back((now, credential));
        }
        let is_old = |(at, _): &(Instant, Uuid)| now.saturating_duration_since(*at) > ENDED_FOR;
        while self.ended.len() > MAX_ENDED || self.ended.front().is_some_and(is_old) {
            if let Some((_, forgotten)) = self.ended.pop_front() {
                self.places.remove(&forgotten);
            }
        }
        standing
    }
}

impl LiveCall {
    pub fn is_ended(&self) -> bool {
        self.standing.is_ended()
            || self
                .expiry
                .as_ref()
                .is_some_and(|expiry| expiry.deadline() <= Instant::now())
    }

    /// Ready once the credential is no longer good.
    pub fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // A stream waits for each of its events: the one that is to be woken already is not put down anew.
        let waker = context.waker();
        match &mut self.waiting {
            Some((known, _)) if known.will_wake(waker) => {}
            waiting => {
                let notified = waiting.take().map(|(_, notified)| notified);
                let mut notified =
                    notified.unwrap_or_else(|| Box::pin(Arc::clone(&self.standing.end).notified_owned()));
                // An end in the meantime is seen below.
                _ = notified.as_mut().poll(context);
                *waiting = Some((context.waker().clone(), notified));
            }
        }
        let expired = self.expiry.as_mut().map(|expiry| expiry.as_mut().poll(context));
        if self.standing.is_ended() || expired.is_some_and(|expired| expired.is_ready()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// What the work gives, unless the credential ends before.
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
        if self.standing.is_ended() {
            return;
        }
        if let Entry::Occupied(mut place) = shard.places.entry(self.credential) {
            place.get_mut().calls -= 1;
            if place.get().calls == 0 {
                place.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests;
