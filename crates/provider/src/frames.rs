//! The frames of a provider's stream, in an order that no reader needs to mend: counts before the mark, and nothing after the end.
//! What its events are like is known to an [`EventReader`], one for each format.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::Stream;
use tokio::time::Sleep;

use crate::{EventStream, ProviderError, Stage};
use llm::{
    frame::{Frame, FrameKind},
    outbound::openai::frames::{AnswerFault, FrameReader},
};

/// Frames as they come, until the answer has ended: then one with the mark or with the provider's error, and no more. A stream that ends
/// before its answer is complete ends with an error. Dropping it closes the upstream connection.
pub type FrameStream = Pin<Box<dyn Stream<Item = Result<Frame, ProviderError>> + Send>>;

/// What takes our keys and ids out of an error's data.
pub(crate) type Redact = Box<dyn Fn(&[u8]) -> Vec<u8> + Send>;

/// Some servers send their counts after `[DONE]`. Time to wait for those, if none have come before and the stream does not
/// end.
const COUNTS_AFTER_MARK: Duration = Duration::from_millis(50);
/// Items that are read after the end, for counts and so that the connection sees its own end.
const MAX_ITEMS_AFTER_END: u32 = 4;

/// Makes frames, in OpenAI's form, of one format's events. A reader of another format converts, and may leave the rest to OpenAI's own.
pub(crate) trait EventReader {
    /// Takes whole events. Those before have been read.
    fn push(&mut self, events: Bytes);

    /// The next frame of what was taken. `redact` takes secrets out of an error's data; `reach` is told each stage that the answer
    /// reaches with the frame.
    fn next(&mut self, redact: &Redact, reach: impl FnMut(Stage)) -> Option<Frame>;

    /// Whether the provider's counts have come.
    fn is_counted(&self) -> bool;

    /// Whether a stream that ends here is a complete answer.
    fn end(&self) -> Result<(), AnswerFault>;
}

impl EventReader for FrameReader {
    fn push(&mut self, events: Bytes) {
        Self::push(self, events);
    }

    fn next(&mut self, redact: &Redact, reach: impl FnMut(Stage)) -> Option<Frame> {
        Self::next(self, redact, reach)
    }

    fn is_counted(&self) -> bool {
        Self::is_counted(self)
    }

    fn end(&self) -> Result<(), AnswerFault> {
        Self::end(self)
    }
}

/// Makes frames of a stream of whole events.
pub(crate) struct Frames<R> {
    /// `None` once nothing more is read.
    events: Option<EventStream>,
    reader: R,
    redact: Redact,
    /// The frame that ends the answer, while counts may follow it.
    last: Option<Frame>,
    items_after_end: u32,
    timer: Option<Pin<Box<Sleep>>>,
    is_over: bool,
}

impl<R: EventReader> Frames<R> {
    pub(crate) fn new(events: EventStream, reader: R, redact: Redact) -> Self {
        Self {
            events: Some(events),
            reader,
            redact,
            last: None,
            items_after_end: 0,
            timer: None,
            is_over: false,
        }
    }

    /// The next frame of what has been read.
    fn read(&mut self) -> Option<Frame> {
        loop {
            let (events, redact) = (&mut self.events, &self.redact);
            let mut frame = self.reader.next(redact, |stage| {
                if let Some(events) = events {
                    events.as_mut().reached(stage);
                }
            })?;
            if self.last.is_none() {
                if !matches!(frame.kind, FrameKind::Done | FrameKind::Error) {
                    return Some(frame);
                }
                self.last = Some(frame);
            } else if is_only_counts(&frame) {
                frame.kind = FrameKind::Usage;
                return Some(frame);
            }
        }
    }

    /// The last frame, or why there is none.
    fn end(&mut self) -> Option<Result<Frame, ProviderError>> {
        self.events = None;
        if std::mem::replace(&mut self.is_over, true) {
            return None;
        }
        let last = self.last.take();
        match (self.reader.end(), last) {
            // The error is what the caller gets, as the provider says it.
            (_, Some(last)) if last.kind == FrameKind::Error => Some(Ok(last)),
            (Ok(()), last) => last.map(Ok),
            (Err(fault), _) => Some(Err(fault.into())),
        }
    }

    /// Whether nothing more is waited for.
    fn poll_enough(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.last.is_none() {
            return Poll::Pending;
        }
        if self.reader.is_counted() {
            return Poll::Ready(());
        }
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(COUNTS_AFTER_MARK)));
        timer.as_mut().poll(context)
    }
}

impl<R: EventReader + Unpin> Stream for Frames<R> {
    type Item = Result<Frame, ProviderError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(frame) = this.read() {
                return Poll::Ready(Some(Ok(frame)));
            }
            let Some(events) = this
                .events
                .as_mut()
                .filter(|_| this.items_after_end < MAX_ITEMS_AFTER_END)
            else {
                return Poll::Ready(this.end());
            };
            match events.as_mut().poll_next(context) {
                Poll::Ready(Some(Ok(item))) => {
                    this.items_after_end += u32::from(this.last.is_some());
                    this.reader.push(item);
                }
                Poll::Ready(Some(Err(error))) if this.last.is_none() => {
                    this.events = None;
                    this.is_over = true;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(_) => this.events = None,
                Poll::Pending => {
                    ready!(this.poll_enough(context));
                    return Poll::Ready(this.end());
                }
            }
        }
    }
}

/// Whatever else comes after the end is no part of the answer. Some servers put an empty choice beside their counts.
fn is_only_counts(frame: &Frame) -> bool {
    frame.usage().is_some() && frame.kind != FrameKind::Error && frame.info.text_bytes == 0
}

#[cfg(test)]
mod tests;
