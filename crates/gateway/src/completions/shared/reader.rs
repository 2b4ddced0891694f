//! One caller's view of a shared call.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::Stream;
use tokio::sync::futures::OwnedNotified;

use super::{
    SharedCall,
    log::{End, Head, Log, StartError},
};
use crate::completions::{record::Recorder, stored::StoredAnswer, stream::StreamError};
use domain::{tokens::TokenUsage, usage::CallOutcome};
use llm::frame::Frame;
use provider::ProviderError;

/// Yields frames. Dropping it leaves the call to the other readers.
pub(in crate::completions) struct SharedReader {
    call: Arc<SharedCall>,
    id: u64,
    /// The usage record of a reader that joined, at no cost; `None` for the caller that started the call.
    own: Option<Recorder>,
    with_usage: bool,
    position: usize,
    /// Told when there is more in the log.
    appended: Option<Pin<Box<OwnedNotified>>>,
    closing: Closing,
}

/// What follows the last frame of the answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    NotYet,
    Usage,
    Last,
    Over,
}

impl SharedReader {
    pub(super) fn new(call: Arc<SharedCall>, id: u64, own: Option<Recorder>, with_usage: bool) -> Self {
        Self {
            call,
            id,
            own,
            with_usage,
            position: 0,
            appended: None,
            closing: Closing::NotYet,
        }
    }

    /// Returns what `look` finds in the log, as soon as it finds something.
    fn poll<T>(&mut self, context: &mut Context<'_>, mut look: impl FnMut(&mut Log) -> Option<T>) -> Poll<T> {
        loop {
            if let Some(found) = look(&mut self.call.log()) {
                return Poll::Ready(found);
            }
            match &mut self.appended {
                Some(appended) => {
                    ready!(appended.as_mut().poll(context));
                    self.appended = None;
                }
                // What is appended from here on is told; the log is looked at once more for what came before.
                None => self.appended = Some(Box::pin(Arc::clone(&self.call.appended).notified_owned())),
            }
        }
    }

    /// Waits for the response head.
    pub(in crate::completions) async fn head(&mut self) -> Result<Head, StartError> {
        let leads = self.own.is_none();
        poll_fn(|context| {
            self.poll(context, |log| match (&log.head, &mut log.end) {
                (Some(head), _) => Some(Ok(head.clone())),
                (None, Some(End::Broken(error))) => Some(Err(error.for_reader(leads))),
                (None, _) => None,
            })
        })
        .await
    }

    /// Waits for the complete stream, for a caller that did not request streaming. `None` as soon as it is certain that the
    /// answer cannot be stored.
    pub(in crate::completions) async fn read_whole(&mut self) -> Result<Option<StoredAnswer>, StartError> {
        let leads = self.own.is_none();
        self.call.log().readers.await_end(self.id);
        self.call.read.notify_one();
        poll_fn(|context| {
            self.poll(context, |log| match &mut log.end {
                Some(End::Done(stored)) => Some(Ok(stored.clone())),
                Some(End::Broken(error)) => Some(Err(error.for_reader(leads))),
                None => log.is_too_long().then_some(Ok(None)),
            })
        })
        .await
    }

    /// Tokens that the answer consumed, so far if it goes on.
    pub(in crate::completions) fn tokens(&self) -> TokenUsage {
        self.call.log().tokens
    }

    /// Whether the provider reported an error inside the stream, which the caller has seen.
    pub(in crate::completions) fn has_failed(&self) -> bool {
        self.call.log().has_failed
    }

    /// Completes the usage record of a reader that joined.
    pub(in crate::completions) fn settle(&mut self, outcome: CallOutcome) {
        let tokens = self.tokens();
        if let Some(own) = &mut self.own {
            own.note_settled(tokens);
            own.finish(outcome);
        }
    }

    /// Withdraws the usage record: the call failed, and the caller tries again.
    pub(in crate::completions) fn withdraw(&mut self) {
        if let Some(own) = &mut self.own {
            own.withdraw();
        }
    }

    fn take(&mut self, next: Next) -> Option<Result<Frame, StreamError>> {
        match next {
            Next::Frame(frame) => {
                self.position += 1;
                self.call.read.notify_one();
                if let Some(own) = &mut self.own {
                    own.note_text(0);
                }
                Some(Ok(frame))
            }
            Next::Done { has_failed } => {
                self.settle(if has_failed {
                    CallOutcome::Failed
                } else {
                    CallOutcome::Completed
                });
                self.closing = Closing::Usage;
                None
            }
            Next::Broken(StartError::Failed(error)) => {
                self.closing = Closing::Over;
                self.settle(CallOutcome::Failed);
                let error = error.unwrap_or(ProviderError::BadReply("the call that this one shared broke off"));
                Some(Err(error.into()))
            }
            // There is no stream before there is a place.
            Next::Broken(StartError::Stopping | StartError::NoCapacity(_)) => {
                self.closing = Closing::Over;
                self.settle(CallOutcome::Cancelled);
                Some(Err(StreamError::Stopping))
            }
        }
    }
}

enum Next {
    Frame(Frame),
    Done { has_failed: bool },
    Broken(StartError),
}

/// The frame at `position`, or how the stream ends there.
fn next(log: &mut Log, reader: u64, position: usize, leads: bool) -> Option<Next> {
    if log.dropped > position {
        let error = ProviderError::BadReply("it was read too slowly");
        return Some(Next::Broken(StartError::Failed(Some(error))));
    }
    if let Some(frame) = log.frames.get(position - log.dropped) {
        log.readers.advance(reader, frame.bytes.len());
        return Some(Next::Frame(frame.clone()));
    }
    match &mut log.end {
        Some(End::Done(_)) => Some(Next::Done {
            has_failed: log.has_failed,
        }),
        Some(End::Broken(error)) => Some(Next::Broken(error.for_reader(leads))),
        None => None,
    }
}

impl Stream for SharedReader {
    type Item = Result<Frame, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            match this.closing {
                Closing::NotYet => {
                    let (id, position, leads) = (this.id, this.position, this.own.is_none());
                    let found = ready!(this.poll(context, |log| next(log, id, position, leads)));
                    if let Some(item) = this.take(found) {
                        return Poll::Ready(Some(item));
                    }
                }
                Closing::Usage => {
                    this.closing = Closing::Last;
                    let usage = this.call.log().usage.clone();
                    if let Some(usage) = usage.filter(|_| this.with_usage) {
                        return Poll::Ready(Some(Ok(usage)));
                    }
                }
                Closing::Last => {
                    this.closing = Closing::Over;
                    return Poll::Ready(this.call.log().last.clone().map(Ok));
                }
                Closing::Over => return Poll::Ready(None),
            }
        }
    }
}

impl Drop for SharedReader {
    fn drop(&mut self) {
        self.call.leave(self.id);
    }
}
