use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tokio::time::Instant;
use uuid::Uuid;

use super::{ENDED_FOR, LiveCalls, MAX_ENDED, Shard};
use domain::{
    ids::{ApiKeyId, SessionId},
    principal::Credential,
};

fn by_credential(calls: &LiveCalls) -> usize {
    calls
        .0
        .iter()
        .map(|shard| shard.lock().unwrap().by_credential.len())
        .sum()
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Woken {
    fn times(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn what_a_credential_began_ends_with_it_and_nothing_else() {
    let calls = LiveCalls::default();
    let (key, session) = (ApiKeyId::generate(), SessionId::generate());
    let (key, session) = (Credential::Key(key), Credential::Session(session));
    let (first, mut second, mut other) = (
        calls.register(key, None),
        calls.register(key, None),
        calls.register(session, None),
    );
    calls.end(key);
    assert!(first.is_ended() && second.is_ended() && !other.is_ended());
    assert_eq!(second.unless_ended(std::future::pending::<()>()).await, None);
    assert_eq!(other.unless_ended(async { 7 }).await, Some(7));
    assert!(calls.register(key, None).is_ended(), "one that was about to begin");
    drop((first, second, other));
    assert_eq!(
        by_credential(&calls),
        1,
        "the end is remembered, and the session's place given back"
    );
}

#[test]
fn a_place_is_given_back_with_the_last_call_that_has_it() {
    let calls = LiveCalls::default();
    let key = Credential::Key(ApiKeyId::generate());
    let (first, second) = (calls.register(key, None), calls.register(key, None));
    drop(first);
    assert_eq!(by_credential(&calls), 1);
    drop(second);
    assert_eq!(by_credential(&calls), 0);
}

#[test]
fn whoever_waits_is_woken_by_the_end_wherever_the_call_has_been_moved_to() {
    let calls = LiveCalls::default();
    let key = Credential::Key(ApiKeyId::generate());
    let (mut moved, mut resting) = (calls.register(key, None), calls.register(key, None));
    let [before, after, other] = std::array::from_fn(|_| Arc::new(Woken::default()));
    let poll = |woken: &Arc<Woken>, call: &mut super::LiveCall| {
        call.poll_ended(&mut Context::from_waker(&Waker::from(Arc::clone(woken))))
    };
    assert_eq!(poll(&before, &mut moved), Poll::Pending);
    assert_eq!(poll(&after, &mut moved), Poll::Pending);
    assert_eq!(poll(&other, &mut resting), Poll::Pending);
    calls.end(key);
    assert_eq!([before.times(), after.times(), other.times()], [0, 1, 1]);
    assert_eq!(poll(&after, &mut moved), Poll::Ready(()));
    assert_eq!(poll(&after, &mut moved), Poll::Ready(()), "asked once more");
}

#[test]
fn work_is_polled_no_further_once_its_credential_has_ended() {
    let calls = LiveCalls::default();
    let key = Credential::Key(ApiKeyId::generate());
    let mut call = calls.register(key, None);
    let mut polls = 0;
    let mut context = Context::from_waker(Waker::noop());
    {
        let work = std::future::poll_fn(|_| {
            polls += 1;
            Poll::<()>::Pending
        });
        let mut work = pin!(call.unless_ended(work));
        assert_eq!(work.as_mut().poll(&mut context), Poll::Pending);
        calls.end(key);
        assert_eq!(work.as_mut().poll(&mut context), Poll::Ready(None));
    }
    assert_eq!(polls, 1);
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_expires_ends_its_calls() {
    let calls = LiveCalls::default();
    let key = Credential::Key(ApiKeyId::generate());
    let mut call = calls.register(key, Some(Duration::from_secs(5)));
    let began = Instant::now();
    assert_eq!(call.unless_ended(std::future::pending::<()>()).await, None);
    assert!(began.elapsed() >= Duration::from_secs(5) && call.is_ended());
}

#[test]
fn ends_are_forgotten_in_time_and_when_there_are_many() {
    let mut shard = Shard::default();
    let now = Instant::now();
    let first = Uuid::now_v7();
    shard.end(first, now);
    shard.end(first, now);
    assert_eq!(shard.ended.len(), 1, "one end, however often it is told");
    for _ in 0..MAX_ENDED {
        shard.end(Uuid::now_v7(), now);
    }
    assert!(!shard.by_credential.contains_key(&first));
    assert_eq!((shard.by_credential.len(), shard.ended.len()), (MAX_ENDED, MAX_ENDED));
    shard.end(first, now + ENDED_FOR + Duration::from_secs(1));
    assert_eq!((shard.by_credential.len(), shard.ended.len()), (1, 1));
}
