//! One call to a provider that several callers read: each gets what has been sent so far and follows on.
//!
//! Nobody runs it: whoever reads drives it, and wakes the others when there is more. So it goes as fast as its fastest
//! reader, needs no task, and ends, at the provider too, when the last reader has left.

mod reader;
mod wakers;

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode};

use super::{record::Recorder, stored::StoredAnswer};
use crate::{
    cache::Key,
    domain::{tokens::TokenUsage, usage::Outcome},
    provider::{EventStream, ProviderError, ProviderReply, sse},
    service::caches::Caches,
};
pub use reader::SharedReader;
pub(super) use reader::{Begun, NotBegun};
use wakers::Wakers;

/// The call to the provider, until its answer has a head.
pub(super) type Sending = BoxFuture<'static, Result<ProviderReply, ProviderError>>;

/// What a finished answer must be like to be remembered, and where.
pub(super) struct Keeping {
    pub(super) caches: Caches,
    pub(super) key: Key,
    /// Answers that were asked for in one; each must have ended well. 0: nothing is kept.
    pub(super) choices: u32,
    pub(super) is_chat: bool,
    pub(super) most_bytes: usize,
}

pub struct SharedCall {
    progress: Mutex<Progress>,
    wakers: Arc<Wakers>,
}

struct Progress {
    stage: Stage,
    recorder: Recorder,
    keeping: Keeping,
    head: Option<Head>,
    items: Vec<Bytes>,
    /// Of the items before the first that is still held.
    dropped: usize,
    bytes: usize,
    usage_chunk: Bytes,
    /// Choices that have ended well.
    complete: u32,
    /// The upstream told of an error in an event.
    failed: bool,
    end: Option<End>,
}

enum Stage {
    Sending(Sending),
    Streaming(EventStream),
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

/// How it ended, once it has.
enum End {
    /// With what was consumed, and the answer in a form for everybody, if it is one to be remembered.
    Done(TokenUsage, Option<StoredAnswer>),
    /// The error is for who started the call.
    Failed(Option<ProviderError>),
    /// The process ends.
    Stopped,
}

impl SharedCall {
    pub(super) fn new(sending: Sending, recorder: Recorder, keeping: Keeping) -> Arc<Self> {
        Arc::new(Self {
            progress: Mutex::new(Progress {
                stage: Stage::Sending(sending),
                recorder,
                keeping,
                head: None,
                items: Vec::new(),
                dropped: 0,
                bytes: 0,
                usage_chunk: Bytes::new(),
                complete: 0,
                failed: false,
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
        progress.dropped == 0 && progress.end.is_none()
    }

    /// It was never begun: an equal call was there first.
    pub(super) fn abandon(&self) {
        self.progress().recorder.withdraw();
    }

    /// The process ends, and this with it.
    fn stop(&self) {
        let mut progress = self.progress();
        if progress.end.is_none() {
            progress.recorder.finish(Outcome::Failed);
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

impl Progress {
    /// One step; ready when there is something new to find.
    fn drive(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.stage {
            Stage::Over => return Poll::Pending,
            Stage::Sending(sending) => match std::task::ready!(sending.as_mut().poll(context)) {
                Ok(ProviderReply::Whole { status, headers, body }) => self.take_whole(status, headers, body),
                Ok(ProviderReply::Events { headers, events }) => {
                    self.head = Some(Head::Stream { headers });
                    self.stage = Stage::Streaming(events);
                }
                Err(error) => self.fail(error),
            },
            Stage::Streaming(events) => match std::task::ready!(events.as_mut().poll_next(context)) {
                Some(Ok(item)) => self.take_item(&item),
                Some(Err(error)) => self.fail(error),
                None => self.finish(),
            },
        }
        Poll::Ready(())
    }

    fn take_whole(&mut self, status: StatusCode, headers: HeaderMap, body: Bytes) {
        self.stage = Stage::Over;
        let mut stored = None;
        let mut usage = TokenUsage::default();
        if status.is_success() {
            let info = sse::scan_chunk(&body);
            self.recorder.note_text(info.text_bytes);
            if let Some(usage) = info.usage {
                self.recorder.note_usage(usage);
            }
            self.recorder.finish(Outcome::Completed);
            usage = self.recorder.tokens();
            let whole = !self.keeping.is_chat || (!info.failed && self.is_complete(info.complete));
            if whole && body.len() <= self.keeping.most_bytes {
                stored = Some(self.keep(StoredAnswer::whole(&body, usage)));
            }
        } else {
            self.recorder.refuse(status);
        }
        self.head = Some(Head::Whole { status, headers, body });
        self.end = Some(End::Done(usage, stored));
    }

    /// Cuts the usage chunk and the last mark out of what came: who gets them is each reader's affair.
    fn take_item(&mut self, item: &Bytes) {
        let mut from = 0;
        for event in sse::events(item) {
            let data = event.data();
            let range = event.range();
            if sse::is_done(data) {
                self.push(item.slice(from..range.start));
                from = item.len();
                self.finish();
                break;
            }
            let chunk = sse::scan_chunk(data);
            self.failed |= chunk.failed;
            self.complete += chunk.complete;
            if chunk.text_bytes > 0 {
                self.recorder.note_text(chunk.text_bytes);
            }
            if let Some(usage) = chunk.usage {
                self.recorder.note_usage(usage);
                if !chunk.has_choices {
                    self.push(item.slice(from..range.start));
                    self.usage_chunk = item.slice(range.clone());
                    from = range.end;
                }
            }
        }
        self.push(item.slice(from..));
    }

    fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.bytes += bytes.len();
            self.items.push(bytes);
        }
    }

    fn finish(&mut self) {
        self.stage = Stage::Over;
        if self.end.is_some() {
            return;
        }
        self.recorder.finish(if self.failed {
            Outcome::Failed
        } else {
            Outcome::Completed
        });
        let usage = self.recorder.tokens();
        let whole = !self.failed && self.dropped == 0 && self.is_complete(self.complete);
        let stored = (whole && self.bytes <= self.keeping.most_bytes)
            .then(|| self.keep(StoredAnswer::events(&self.items, &self.usage_chunk, usage)));
        self.end = Some(End::Done(usage, stored));
    }

    fn is_complete(&self, complete: u32) -> bool {
        self.keeping.choices > 0 && complete == self.keeping.choices
    }

    fn keep(&self, answer: StoredAnswer) -> StoredAnswer {
        self.keeping.caches.answers.keep(self.keeping.key, answer.clone());
        answer
    }

    fn fail(&mut self, error: ProviderError) {
        self.stage = Stage::Over;
        self.recorder.fail(&error);
        self.end = Some(End::Failed(Some(error)));
    }

    /// Frees what every reader has had, once it is too much to be remembered.
    fn free_before(&mut self, place: usize) {
        if self.bytes > self.keeping.most_bytes && place > self.dropped {
            let gone = (place - self.dropped).min(self.items.len());
            self.items.drain(..gone);
            self.dropped += gone;
        }
    }
}
