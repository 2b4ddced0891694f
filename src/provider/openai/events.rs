//! An upstream's event stream: whole events as they come, within the limits on pauses.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use futures_util::Stream;
use hyper::body::Body;
use tokio::time::Sleep;

use super::{Limits, pool::AnswerBody};
use crate::provider::{ProviderError, sse::EventSplitter};

/// Dropping it before the last event closes the upstream connection.
pub(super) struct UpstreamEvents {
    /// Until the answer has ended.
    body: Option<AnswerBody>,
    splitter: EventSplitter,
    limits: Limits,
    started: Instant,
    /// The last chunk, or the start. The timer is not touched for every chunk: it fires, sees that chunks have come
    /// since it was set, and is set again.
    last: Instant,
    begun: bool,
    /// The mark that no event follows has come.
    marked: bool,
    over: bool,
    timer: Pin<Box<Sleep>>,
}

impl UpstreamEvents {
    pub(super) fn new(body: AnswerBody, limits: Limits, started: Instant) -> Self {
        // The shortest of them, so that whichever applies by then is not noticed late.
        let deadline = started + limits.first_byte.min(limits.chunk).min(limits.total);
        Self {
            body: Some(body),
            splitter: EventSplitter::default(),
            limits,
            started,
            last: started,
            begun: false,
            marked: false,
            over: false,
            timer: Box::pin(tokio::time::sleep_until(deadline.into())),
        }
    }

    /// When the present pause is too long, and what that is called.
    fn deadline(&self) -> (Instant, ProviderError) {
        let (pause, error) = if self.begun {
            (self.limits.chunk, ProviderError::ChunkTimeout(self.limits.chunk))
        } else {
            (
                self.limits.first_byte,
                ProviderError::FirstByteTimeout(self.limits.first_byte),
            )
        };
        let (paused, whole) = (self.last + pause, self.started + self.limits.total);
        if whole <= paused {
            (whole, ProviderError::TotalTimeout(self.limits.total))
        } else {
            (paused, error)
        }
    }

    fn end(&mut self, item: Option<Result<Bytes, ProviderError>>) -> Poll<Option<Result<Bytes, ProviderError>>> {
        self.over = true;
        Poll::Ready(item)
    }
}

impl Stream for UpstreamEvents {
    type Item = Result<Bytes, ProviderError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Some(body) = this.body.as_mut().filter(|_| !this.over) else {
                return Poll::Ready(None);
            };
            match Pin::new(body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    let now = Instant::now();
                    // An upstream that never pauses must not outrun the limit on the whole.
                    if now >= this.started + this.limits.total {
                        return this.end(Some(Err(ProviderError::TotalTimeout(this.limits.total))));
                    }
                    this.last = now;
                    this.begun = true;
                    let Ok(data) = frame.into_data() else { continue };
                    match this.splitter.push(data) {
                        Ok(Some(item)) => {
                            this.marked = ends_with_mark(&item);
                            return Poll::Ready(Some(Ok(item)));
                        }
                        Ok(None) => {}
                        Err(_) => return this.end(Some(Err(ProviderError::BadReply("an event is too large")))),
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    return this.end(Some(Err(ProviderError::BrokenOff(Box::new(error)))));
                }
                Poll::Ready(None) => {
                    if let Some(body) = this.body.take() {
                        body.give_back();
                    }
                    let rest = this.splitter.rest().map(Ok);
                    return this.end(rest);
                }
                Poll::Pending => {
                    ready!(this.timer.as_mut().poll(context));
                    let (deadline, error) = this.deadline();
                    if Instant::now() >= deadline {
                        return this.end(Some(Err(error)));
                    }
                    this.timer.as_mut().reset(deadline.into());
                }
            }
        }
    }
}

impl Drop for UpstreamEvents {
    fn drop(&mut self) {
        if let Some(body) = self.body.take_if(|_| self.marked && !self.over) {
            body.give_back_at_end();
        }
    }
}

/// Whether the last event is `data: [DONE]`.
fn ends_with_mark(events: &[u8]) -> bool {
    let before = events.trim_ascii_end().strip_suffix(b"[DONE]");
    before.is_some_and(|before| before.trim_ascii_end().ends_with(b"data:"))
}
