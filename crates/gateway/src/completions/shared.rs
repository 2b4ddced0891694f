//! One call to a provider with several readers: each gets the events so far and then the new ones.
//!
//! It has no task of its own: every reader that is polled drives the call and wakes the others when there is more. So it runs at
//! the speed of its fastest reader, and ends, at the provider too, when the last reader is dropped.

mod progress;
mod reader;
mod retained;
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

use super::{NoCapacity, record::Recorder, stored::StoredAnswer, validation::StreamValidator};
use cache::{Cached, Key};
use concurrency::memory::{Allowance, StreamReservation};
use domain::{tokens::TokenUsage, usage::CallOutcome};
use llm::Endpoint;
use provider::{EventStream, ProviderError, ProviderReply};
pub use reader::SharedReader;
pub(super) use reader::{ResponseHead, StartError};
use wakers::Wakers;

/// The wait for the slots that the call needs.
pub(super) type Admitting = BoxFuture<'static, Result<(Recorder, Sending), NoCapacity>>;
/// The call to the provider, until its answer has a head.
pub(super) type Sending = BoxFuture<'static, Result<ProviderReply, ProviderError>>;

/// When and where a finished answer is stored.
pub(super) struct StorePolicy {
    pub(super) answers: Cached<StoredAnswer, Infallible>,
    pub(super) key: Key,
    /// Number of requested choices; each must have finished normally. 0: nothing is stored.
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
    /// Set once the call has been admitted.
    recorder: Option<Recorder>,
    store_policy: StorePolicy,
    head: Option<Head>,
    items: VecDeque<Bytes>,
    /// Number of items before the first retained one.
    dropped: usize,
    /// Bytes of all items, and of the retained ones.
    bytes: usize,
    retained: usize,
    /// Retained bytes that `room` counts.
    uncounted: usize,
    room: StreamReservation,
    usage_chunk: Bytes,
    /// Choices that have finished normally.
    complete: u32,
    /// The answer has content for the caller.
    has_substance: bool,
    validation: StreamValidator,
    end: Option<End>,
}

enum Stage {
    Admitting(Admitting),
    Sending(Sending),
    Streaming(EventStream),
    /// `[DONE]` has come, and usage counts may follow it.
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
    /// Whether the answer may be stored for later callers (RFC 9111 5.2.2.5): a stand-in for the model's answer may not.
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

/// How the call ended.
enum End {
    /// The consumed tokens, and the answer for other callers if it may be stored.
    Done(TokenUsage, Option<StoredAnswer>),
    /// Only the caller that started the call gets the error.
    Failed(Option<ProviderError>),
    NoCapacity(NoCapacity),
    /// The process is shutting down.
    Stopped,
}

impl SharedCall {
    pub(super) fn new(admitting: Admitting, store_policy: StorePolicy, memory: Allowance) -> Arc<Self> {
        let validation = StreamValidator::of(store_policy.choices);
        Arc::new(Self {
            progress: Mutex::new(Progress {
                stage: Stage::Admitting(admitting),
                recorder: None,
                store_policy,
                head: None,
                items: VecDeque::new(),
                dropped: 0,
                bytes: 0,
                retained: 0,
                uncounted: 0,
                room: StreamReservation::new(Some(memory)),
                usage_chunk: Bytes::new(),
                complete: 0,
                has_substance: false,
                validation,
                end: None,
            }),
            wakers: Arc::default(),
        })
    }

    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a new reader would get the complete answer.
    pub(super) fn may_be_joined(&self) -> bool {
        let progress = self.progress();
        let is_for_all = progress.head.as_ref().is_none_or(Head::may_be_stored);
        is_for_all && !progress.is_too_long() && progress.end.is_none()
    }

    /// Ends the call because the process is shutting down.
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

    /// Returns what `look` finds, and drives the call while it finds nothing.
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
            // Registered before the upstream is polled, since another thread may wake it at once.
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
