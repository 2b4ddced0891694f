//! One call to a provider that several callers read: each gets what has been sent so far and follows on.
//!
//! Nobody runs it: whoever reads drives it, and wakes the others when there is more. So it goes as fast as its fastest
//! reader, needs no task, and ends, at the provider too, when the last reader has left.

mod held;
mod progress;
mod reader;
mod wakers;

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode, header};
use tokio::time::Sleep;

use super::{NoPlace, course::Course, record::Recorder, stored::StoredAnswer};
use crate::{
    cache::{Cached, Key},
    domain::{tokens::TokenUsage, usage::CallOutcome},
    memory::{Allowance, StreamReservation},
    provider::{Endpoint, EventStream, ProviderError, ProviderReply},
};
pub use reader::SharedReader;
pub(super) use reader::{Begun, NotBegun};
use wakers::Wakers;

/// Waiting for the places that the call needs.
pub(super) type Entering = BoxFuture<'static, Result<(Recorder, Sending), NoPlace>>;
/// The call to the provider, until its answer has a head.
pub(super) type Sending = BoxFuture<'static, Result<ProviderReply, ProviderError>>;

/// What a finished answer must be like to be remembered, and where.
pub(super) struct Keeping {
    pub(super) answers: Cached<StoredAnswer, Infallible>,
    pub(super) key: Key,
    /// Answers that were asked for in one; each must have ended well. 0: nothing is kept.
    pub(super) choices: u32,
    pub(super) endpoint: Endpoint,
    pub(super) max_bytes: usize,
}

pub struct SharedCall {
    progress: Mutex<Progress>,
    wakers: Arc<Wakers>,
}

struct Progress {
    stage: Stage,
    /// Once there is something to record.
    recorder: Option<Recorder>,
    keeping: Keeping,
    head: Option<Head>,
    items: VecDeque<Bytes>,
    /// Of the items before the first that is still held.
    dropped: usize,
    /// Of all items, and of those that are held.
    bytes: usize,
    held: usize,
    /// Of those that are held, what is counted by `room`.
    uncounted: usize,
    room: StreamReservation,
    usage_chunk: Bytes,
    /// Choices that have ended well.
    complete: u32,
    /// There was something in it for who asked.
    has_substance: bool,
    course: Course,
    end: Option<End>,
}

enum Stage {
    Entering(Entering),
    Sending(Sending),
    Streaming(EventStream),
    /// The last mark has come, and counts may follow it.
    Counting(EventStream, Pin<Box<Sleep>>),
    Over,
}

#[derive(Clone)]
enum Head {
    Whole {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    },
    Stream {
        headers: HeaderMap,
    },
}

impl Head {
    /// Whether the answer is for later callers as well (RFC 9111 5.2.2.5): not one that stands in for the model's.
    fn may_be_stored(&self) -> bool {
        let (Self::Whole { headers, .. } | Self::Stream { headers }) = self;
        may_be_stored(headers)
    }
}

fn may_be_stored(headers: &HeaderMap) -> bool {
    headers
        .get(header::CACHE_CONTROL)
        .is_none_or(|value| value.as_bytes() != b"no-store")
}

/// How it ended, once it has.
enum End {
    /// With what was consumed, and the answer in a form for everybody, if it is one to be remembered.
    Done(TokenUsage, Option<StoredAnswer>),
    /// The error is for who started the call.
    Failed(Option<ProviderError>),
    NoPlace(NoPlace),
    /// The process ends.
    Stopped,
}

impl SharedCall {
    pub(super) fn new(entering: Entering, keeping: Keeping, memory: Allowance) -> Arc<Self> {
        let course = Course::of(keeping.choices);
        Arc::new(Self {
            progress: Mutex::new(Progress {
                stage: Stage::Entering(entering),
                recorder: None,
                keeping,
                head: None,
                items: VecDeque::new(),
                dropped: 0,
                bytes: 0,
                held: 0,
                uncounted: 0,
                room: StreamReservation::new(Some(memory)),
                usage_chunk: Bytes::new(),
                complete: 0,
                has_substance: false,
                course,
                end: None,
            }),
            wakers: Arc::default(),
        })
    }

    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody new would get all of it.
    pub(super) fn may_be_joined(&self) -> bool {
        let progress = self.progress();
        let is_for_all = progress.head.as_ref().is_none_or(Head::may_be_stored);
        is_for_all && !progress.is_too_long() && progress.end.is_none()
    }

    /// The process ends, and this with it.
    fn stop(&self) {
        let mut progress = self.progress();
        if progress.end.is_none() {
            progress.record(|recorder| recorder.finish(CallOutcome::Cancelled));
            progress.end = Some(End::Stopped);
            progress.stage = Stage::Over;
        }
        drop(progress);
        self.wakers.wake_others(None);
    }

    /// Gives what `look` finds, driving the call on as long as it finds nothing.
    fn poll<T>(
        &self,
        reader: u64,
        context: &mut Context<'_>,
        mut look: impl FnMut(&mut Progress) -> Option<T>,
    ) -> Poll<T> {
        let mut progress = self.progress();
        let mut moved = false;
        let found = loop {
            if let Some(found) = look(&mut progress) {
                break Poll::Ready(found);
            }
            // Before the upstream is asked: it may answer from another thread at once.
            self.wakers.register(reader, context.waker());
            let waker = Waker::from(Arc::clone(&self.wakers));
            if progress.drive(&mut Context::from_waker(&waker)).is_pending() {
                break Poll::Pending;
            }
            moved = true;
        };
        drop(progress);
        if moved {
            self.wakers.wake_others(Some(reader));
        }
        found
    }
}
