//! An upstream's event stream: whole events as they come, within the limits on pauses.

use std::{
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Buf as _, Bytes};
use futures_util::Stream;
use hyper::body::Body;
use tokio::time::Sleep;

use super::{UpstreamTimeouts, VendorFormat};
use crate::{Events, ProviderError, Stage, transport::ResponseBody};
use concurrency::memory::{Allowance, StreamReservation};
use llm::sse::{self, EventSplitter, KEEP_ALIVE, MAX_EVENT};

/// After its finish reason an answer has so long for its usage and `[DONE]`. Some servers send neither, and keep the
/// connection open or go on with comments (maximhq/bifrost #6784).
const TAIL: Duration = Duration::from_secs(30);

/// Dropping it before the last event closes the upstream connection.
#[expect(clippy::struct_excessive_bools, reason = "each says something else of the stream")]
pub(crate) struct UpstreamEvents<F: VendorFormat> {
    /// `None` once the answer has ended.
    body: Option<ResponseBody>,
    /// Bytes of the body that were read to recognise a stream.
    first: Bytes,
    splitter: EventSplitter,
    /// Counts the buffered bytes of the stream.
    room: StreamReservation,
    limits: UpstreamTimeouts,
    started: Instant,
    /// Time of the last chunk, or of the start. The timer is not reset for every chunk: when it fires after newer chunks,
    /// it is set again.
    last: Instant,
    /// When the caller was last sent bytes.
    spoke: Instant,
    reached: Reached,
    /// The first events are checked for odd framing; all others only if the first had some.
    is_odd: bool,
    /// The last event was ended before its blank line came, which is then left out.
    is_ended_early: bool,
    /// The mark that ends an answer has come.
    marked: bool,
    over: bool,
    timer: Pin<Box<Sleep>>,
    format: PhantomData<fn() -> F>,
}

/// The progress of the answer, which decides which limit on pauses applies.
#[derive(Clone, Copy)]
enum Reached {
    Nothing,
    /// A sign of life: a comment, or a chunk that names the role.
    Greeting,
    Content,
    Finished(Instant),
}

impl<F: VendorFormat> UpstreamEvents<F> {
    /// `first` is the part of the body that has been read.
    pub(super) fn new(
        body: ResponseBody,
        first: Bytes,
        limits: UpstreamTimeouts,
        started: Instant,
        memory: Option<Allowance>,
    ) -> Self {
        let now = Instant::now();
        // The shortest limit, so that none is noticed late.
        let limit = limits
            .first_byte
            .min(limits.first_content)
            .min(limits.chunk)
            .min(limits.total);
        let deadline = (started + limit).min(now + limits.keep_alive);
        Self {
            body: Some(body),
            first,
            splitter: EventSplitter::default(),
            room: StreamReservation::new(memory),
            limits,
            started,
            last: started,
            spoke: now,
            reached: Reached::Nothing,
            is_odd: true,
            is_ended_early: false,
            marked: false,
            over: false,
            timer: Box::pin(tokio::time::sleep_until(deadline.into())),
            format: PhantomData,
        }
    }

    /// When the present pause becomes too long, and the error then; `None` if the answer is as good as complete.
    fn deadline(&self) -> (Instant, Option<ProviderError>) {
        let limits = &self.limits;
        let (paused, error) = match self.reached {
            Reached::Nothing => (
                self.started + limits.first_byte,
                Some(ProviderError::FirstByteTimeout(limits.first_byte)),
            ),
            Reached::Greeting if limits.is_lively && self.last + limits.chunk < self.started + limits.first_content => {
                (
                    self.last + limits.chunk,
                    Some(ProviderError::ChunkTimeout(limits.chunk)),
                )
            }
            Reached::Greeting => (
                self.started + limits.first_content,
                Some(ProviderError::FirstContentTimeout(limits.first_content)),
            ),
            Reached::Content => (
                self.last + limits.chunk,
                Some(ProviderError::ChunkTimeout(limits.chunk)),
            ),
            Reached::Finished(at) => (at + limits.chunk.min(TAIL), None),
        };
        let whole = self.started + limits.total;
        if whole <= paused {
            (whole, error.map(|_| ProviderError::TotalTimeout(limits.total)))
        } else {
            (paused, error)
        }
    }

    /// Whether the stream takes too long, although the upstream never pauses.
    fn is_late(&self, now: Instant) -> bool {
        match self.reached {
            Reached::Finished(_) => now >= self.deadline().0,
            _ => now >= self.started + self.limits.total,
        }
    }

    /// Takes a chunk of the body, and returns the events that are complete now.
    fn take(&mut self, mut data: Bytes) -> Result<Option<Bytes>, ProviderError> {
        if self.is_ended_early && !data.is_empty() {
            self.is_ended_early = false;
            let skipped = if data.starts_with(b"\r\n") {
                2
            } else {
                usize::from(data[0] == b'\n')
            };
            data = data.slice(skipped..);
        }
        self.room.reserve(self.splitter.buffered() + data.len(), MAX_EVENT)?;
        match self.splitter.push(data, self.room.counted()) {
            Ok(Some(item)) => Ok(Some(self.pass(item))),
            Ok(None) => Ok(None),
            Err(_) => Err(ProviderError::BadReply("an event is too large")),
        }
    }

    /// An item of more than [`UNCOUNTED`](concurrency::memory::UNCOUNTED) bytes stays counted until it is dropped.
    fn pass(&mut self, item: Bytes) -> Bytes {
        let item = self.regular(item);
        self.room.pass(item)
    }

    fn regular(&mut self, mut item: Bytes) -> Bytes {
        // Strict readers skip a byte order mark, others lose the first event to it.
        if self.is_odd && item.starts_with(sse::MARK) {
            item.advance(sse::MARK.len());
        }
        self.marked = F::ends_answer(&item);
        let is_ended = sse::ends_with_blank_line(&item);
        if !self.is_odd && is_ended {
            return item;
        }
        if let Some(regular) = sse::regular(&item) {
            self.is_odd = true;
            self.is_ended_early = !is_ended;
            regular
        } else {
            self.is_odd = false;
            item
        }
    }

    fn end(&mut self, item: Option<Result<Bytes, ProviderError>>) -> Poll<Option<Result<Bytes, ProviderError>>> {
        self.over = true;
        Poll::Ready(item)
    }
}

impl<F: VendorFormat> Stream for UpstreamEvents<F> {
    type Item = Result<Bytes, ProviderError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Some(body) = this.body.as_mut().filter(|_| !this.over) else {
                return Poll::Ready(None);
            };
            let data = if this.first.is_empty() {
                match Pin::new(body).poll_frame(context) {
                    Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                    Poll::Ready(Some(Err(error))) => {
                        // A finished answer lacks nothing.
                        let is_finished = matches!(this.reached, Reached::Finished(_));
                        let broken = (!is_finished).then(|| Err(ProviderError::BrokenOff(Box::new(error))));
                        return this.end(broken);
                    }
                    Poll::Ready(None) => {
                        this.body = None;
                        let rest = this.splitter.rest().map(|rest| Ok(this.pass(rest)));
                        return this.end(rest);
                    }
                    Poll::Pending => {
                        ready!(this.timer.as_mut().poll(context));
                        let now = Instant::now();
                        let (deadline, error) = this.deadline();
                        if now >= deadline {
                            return this.end(error.map(Err));
                        }
                        if now >= this.spoke + this.limits.keep_alive {
                            this.spoke = now;
                            return Poll::Ready(Some(Ok(KEEP_ALIVE)));
                        }
                        let next = deadline.min(this.spoke + this.limits.keep_alive);
                        this.timer.as_mut().reset(next.into());
                        continue;
                    }
                }
            } else {
                std::mem::take(&mut this.first)
            };
            let now = Instant::now();
            if this.is_late(now) {
                let is_finished = matches!(this.reached, Reached::Finished(_));
                let late = (!is_finished).then(|| Err(ProviderError::TotalTimeout(this.limits.total)));
                return this.end(late);
            }
            this.last = now;
            if let Reached::Nothing = this.reached {
                this.reached = Reached::Greeting;
            }
            match this.take(data) {
                Ok(Some(item)) => {
                    this.spoke = now;
                    return Poll::Ready(Some(Ok(item)));
                }
                Ok(None) => {}
                Err(error) => return this.end(Some(Err(error))),
            }
        }
    }
}

impl<F: VendorFormat> Events for UpstreamEvents<F> {
    fn reached(mut self: Pin<&mut Self>, stage: Stage) {
        self.reached = match (self.reached, stage) {
            (Reached::Finished(at), Stage::Finished) => Reached::Finished(at),
            // More text after all; a pause may precede it again.
            (_, Stage::Content) => Reached::Content,
            (_, Stage::Finished) => Reached::Finished(Instant::now()),
        };
    }
}

impl<F: VendorFormat> Drop for UpstreamEvents<F> {
    fn drop(&mut self) {
        if let Some(body) = self.body.take_if(|_| self.marked && !self.over) {
            body.drain();
        }
    }
}
