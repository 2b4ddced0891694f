//! One caller's view of a shared call.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, StatusCode};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{End, Head, Progress, SharedCall};
use crate::{
    domain::{tokens::TokenUsage, usage::Outcome},
    provider::ProviderError,
    service::completions::{NoPlace, record::Recorder, stored::StoredAnswer, stream::StreamError},
};

const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

/// Yields whole events. Dropping it leaves the call to the other readers.
pub struct SharedReader {
    call: Arc<SharedCall>,
    id: u64,
    /// Of those who share what another started: a record of their own, at no cost.
    own: Option<Recorder>,
    with_usage: bool,
    place: usize,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    closing: Closing,
}

#[derive(PartialEq, Eq)]
enum Closing {
    NotYet,
    Usage,
    Mark,
    Over,
}

/// What a caller gets first.
pub(in crate::service::completions) enum Begun {
    Whole {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    },
    Stream {
        headers: HeaderMap,
    },
}

/// Why there is nothing to get.
pub(in crate::service::completions) enum NotBegun {
    /// The call failed. Only who started it is told how.
    Failed(Option<ProviderError>),
    NoPlace(NoPlace),
    Stopping,
}

impl SharedReader {
    pub(in crate::service::completions) fn new(
        call: Arc<SharedCall>,
        own: Option<Recorder>,
        with_usage: bool,
        stop: CancellationToken,
    ) -> Self {
        let id = call.wakers.enter();
        Self {
            call,
            id,
            own,
            with_usage,
            place: 0,
            stop: Box::pin(stop.cancelled_owned()),
            closing: Closing::NotYet,
        }
    }

    /// Waits for the head of the answer.
    pub(in crate::service::completions) async fn begun(&mut self) -> Result<Begun, NotBegun> {
        let leads = self.own.is_none();
        std::future::poll_fn(|context| {
            let found = self.call.poll(self.id, context, |progress| {
                if let Some(head) = &progress.head {
                    return Some(Ok(match head.clone() {
                        Head::Whole { status, headers, body } => Begun::Whole { status, headers, body },
                        Head::Stream { headers } => Begun::Stream { headers },
                    }));
                }
                match &mut progress.end {
                    Some(End::Failed(error)) => Some(Err(NotBegun::Failed(error.take_if(|_| leads)))),
                    Some(End::NoPlace(error)) => Some(Err(NotBegun::NoPlace(*error))),
                    Some(End::Stopped) => Some(Err(NotBegun::Stopping)),
                    Some(End::Done(..)) | None => None,
                }
            });
            if found.is_pending() && self.stop.as_mut().poll(context).is_ready() {
                self.call.stop();
                return Poll::Ready(Err(NotBegun::Stopping));
            }
            found
        })
        .await
    }

    /// Waits for the whole of a stream, for a caller who wants no stream. `None` if it is not one to be remembered, as soon as
    /// that is known.
    pub(in crate::service::completions) async fn read_on(&mut self) -> Result<Option<StoredAnswer>, NotBegun> {
        let leads = self.own.is_none();
        std::future::poll_fn(|context| {
            let found = self.call.poll(self.id, context, |progress| match &mut progress.end {
                Some(End::Done(_, stored)) => Some(Ok(stored.clone())),
                Some(End::Failed(error)) => Some(Err(NotBegun::Failed(error.take_if(|_| leads)))),
                Some(End::NoPlace(error)) => Some(Err(NotBegun::NoPlace(*error))),
                Some(End::Stopped) => Some(Err(NotBegun::Stopping)),
                None => progress.is_too_long().then_some(Ok(None)),
            });
            if found.is_pending() && self.stop.as_mut().poll(context).is_ready() {
                self.call.stop();
                return Poll::Ready(Err(NotBegun::Stopping));
            }
            found
        })
        .await
    }

    /// What the answer consumed, or has consumed so far.
    pub fn tokens(&self) -> TokenUsage {
        let progress = self.call.progress();
        match &progress.end {
            Some(End::Done(usage, _)) => *usage,
            _ => progress.tokens(),
        }
    }

    /// The upstream told of an error inside the stream. The caller has seen it.
    pub fn has_failed(&self) -> bool {
        self.call.progress().failed
    }

    /// The record of one who shared, once it is known how it went.
    pub(in crate::service::completions) fn settle(&mut self, outcome: Outcome) {
        let tokens = self.tokens();
        if let Some(own) = &mut self.own {
            own.note_usage(tokens);
            own.finish(outcome);
        }
    }

    fn settle_as_ended(&mut self) {
        let failed = self.has_failed();
        self.settle(if failed { Outcome::Failed } else { Outcome::Completed });
    }

    /// Gives up the record: the call failed, and the caller asks anew.
    pub(in crate::service::completions) fn withdraw(&mut self) {
        if let Some(own) = &mut self.own {
            own.withdraw();
        }
    }

    fn next_item(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, StreamError>>> {
        let (place, leads) = (self.place, self.own.is_none());
        let found = self
            .call
            .poll(self.id, context, |progress| item(progress, place, leads));
        let Poll::Ready(found) = found else {
            return Poll::Pending;
        };
        match found {
            Found::Item(bytes) => {
                self.place += 1;
                let last = self.call.wakers.note_place(self.id, self.place);
                self.call.progress().free_before(last);
                if let Some(own) = &mut self.own {
                    own.note_text(0);
                }
                Poll::Ready(Some(Ok(bytes)))
            }
            Found::Last {
                events,
                usage_chunk,
                marked,
            } => {
                if let Some(own) = &mut self.own {
                    own.note_text(0);
                }
                self.settle_as_ended();
                self.closing = Closing::Over;
                let usage_chunk = if self.with_usage { &usage_chunk[..] } else { &[] };
                let mark = if marked { &DONE[..] } else { &[] };
                Poll::Ready(Some(Ok([&events, usage_chunk, mark].concat().into())))
            }
            Found::Done => {
                self.settle_as_ended();
                self.closing = Closing::Usage;
                Poll::Ready(None)
            }
            Found::Failed(error) => {
                self.closing = Closing::Over;
                self.settle(Outcome::Failed);
                let error = error.unwrap_or(ProviderError::BadReply("the call that this one shared broke off"));
                Poll::Ready(Some(Err(error.into())))
            }
            Found::Stopped => {
                self.closing = Closing::Over;
                self.settle(Outcome::Failed);
                Poll::Ready(Some(Err(StreamError::Stopping)))
            }
        }
    }
}

enum Found {
    Item(Bytes),
    /// With what comes after it, so that the caller gets all of it in one packet.
    Last {
        events: Bytes,
        usage_chunk: Bytes,
        marked: bool,
    },
    Done,
    Failed(Option<ProviderError>),
    Stopped,
}

fn item(progress: &mut Progress, place: usize, leads: bool) -> Option<Found> {
    if progress.dropped > place {
        return Some(Found::Failed(Some(ProviderError::BadReply("it was read too slowly"))));
    }
    if let Some(item) = progress.items.get(place - progress.dropped) {
        let is_last = place + 1 == progress.dropped + progress.items.len();
        return Some(if is_last && matches!(progress.end, Some(End::Done(..))) {
            Found::Last {
                events: item.clone(),
                usage_chunk: progress.usage_chunk.clone(),
                marked: progress.marked,
            }
        } else {
            Found::Item(item.clone())
        });
    }
    match &mut progress.end {
        Some(End::Done(..)) => Some(Found::Done),
        Some(End::Failed(error)) => Some(Found::Failed(error.take_if(|_| leads))),
        // There is no stream before there is a place.
        Some(End::NoPlace(_) | End::Stopped) => Some(Found::Stopped),
        None => None,
    }
}

impl Stream for SharedReader {
    type Item = Result<Bytes, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            match this.closing {
                Closing::NotYet => match this.next_item(context) {
                    Poll::Ready(None) => {}
                    Poll::Ready(item) => return Poll::Ready(item),
                    Poll::Pending => {
                        std::task::ready!(this.stop.as_mut().poll(context));
                        this.call.stop();
                    }
                },
                Closing::Usage => {
                    this.closing = Closing::Mark;
                    if this.with_usage {
                        let chunk = this.call.progress().usage_chunk.clone();
                        if !chunk.is_empty() {
                            return Poll::Ready(Some(Ok(chunk)));
                        }
                    }
                }
                Closing::Mark => {
                    this.closing = Closing::Over;
                    if this.call.progress().marked {
                        return Poll::Ready(Some(Ok(DONE)));
                    }
                }
                Closing::Over => return Poll::Ready(None),
            }
        }
    }
}

impl Drop for SharedReader {
    fn drop(&mut self) {
        self.call.wakers.leave(self.id);
    }
}
