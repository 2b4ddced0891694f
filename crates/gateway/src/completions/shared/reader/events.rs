//! The events of a stream, as one caller takes them, and how it ends.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;

use super::SharedReader;
use crate::completions::{
    shared::{End, Progress},
    stream::StreamError,
};
use domain::usage::CallOutcome;
use provider::ProviderError;

const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

#[derive(PartialEq, Eq)]
pub(super) enum Closing {
    NotYet,
    Usage,
    RequestFingerprint,
    Over,
}

impl SharedReader {
    fn settle_as_ended(&mut self) {
        let failed = self.has_failed();
        self.settle(if failed {
            CallOutcome::Failed
        } else {
            CallOutcome::Completed
        });
    }

    fn next_item(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, StreamError>>> {
        let (position, leads) = (self.position, self.own.is_none());
        let found = self
            .call
            .poll(self.id, context, |progress| item(progress, position, leads));
        let Poll::Ready(found) = found else {
            return Poll::Pending;
        };
        match found {
            NextItem::Item(bytes) => {
                self.position += 1;
                let last = self.call.wakers.note_position(self.id, self.position);
                self.call.progress().free_before(last);
                if let Some(own) = &mut self.own {
                    own.note_text(0);
                }
                Poll::Ready(Some(Ok(bytes)))
            }
            NextItem::Last {
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
            NextItem::Done => {
                self.settle_as_ended();
                self.closing = Closing::Usage;
                Poll::Ready(None)
            }
            NextItem::Failed(error) => {
                self.closing = Closing::Over;
                self.settle(CallOutcome::Failed);
                let error = error.unwrap_or(ProviderError::BadReply("the call that this one shared broke off"));
                Poll::Ready(Some(Err(error.into())))
            }
            NextItem::Stopped => {
                self.closing = Closing::Over;
                self.settle(CallOutcome::Cancelled);
                Poll::Ready(Some(Err(StreamError::Stopping)))
            }
        }
    }
}

enum NextItem {
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

fn item(progress: &mut Progress, position: usize, leads: bool) -> Option<NextItem> {
    if progress.dropped > position {
        return Some(NextItem::Failed(Some(ProviderError::BadReply(
            "it was read too slowly",
        ))));
    }
    if let Some(item) = progress.items.get(position - progress.dropped) {
        let is_last = position + 1 == progress.dropped + progress.items.len();
        return Some(if is_last && matches!(progress.end, Some(End::Done(..))) {
            NextItem::Last {
                events: item.clone(),
                usage_chunk: progress.usage_chunk.clone(),
                marked: progress.validation.is_marked,
            }
        } else {
            NextItem::Item(item.clone())
        });
    }
    match &mut progress.end {
        Some(End::Done(..)) => Some(NextItem::Done),
        Some(End::Failed(error)) => Some(NextItem::Failed(error.take_if(|_| leads))),
        // There is no stream before there is a place.
        Some(End::NoCapacity(_) | End::Stopped) => Some(NextItem::Stopped),
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
                    this.closing = Closing::RequestFingerprint;
                    if this.with_usage {
                        let chunk = this.call.progress().usage_chunk.clone();
                        if !chunk.is_empty() {
                            return Poll::Ready(Some(Ok(chunk)));
                        }
                    }
                }
                Closing::RequestFingerprint => {
                    this.closing = Closing::Over;
                    if this.call.progress().validation.is_marked {
                        return Poll::Ready(Some(Ok(DONE)));
                    }
                }
                Closing::Over => return Poll::Ready(None),
            }
        }
    }
}
