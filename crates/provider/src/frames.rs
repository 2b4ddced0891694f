//! The frames of a provider's stream, in an order that no reader needs to mend: counts before the mark, and nothing after the end.
//! They are read in OpenAI's form; of a vendor with another one each item is converted before.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::Stream;
use tokio::time::Sleep;

use crate::{EventStream, ProviderError};
use llm::{
    frame::{Frame, FrameKind},
    outbound::openai::frames::FrameReader,
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

/// Makes frames of a stream of whole events.
pub(crate) struct Frames<C> {
    /// `None` once nothing more is read.
    events: Option<EventStream>,
    convert: C,
    reader: FrameReader,
    redact: Redact,
    /// The frame that ends the answer, while counts may follow it.
    last: Option<Frame>,
    items_after_end: u32,
    timer: Option<Pin<Box<Sleep>>>,
    is_over: bool,
}

impl<C: FnMut(Bytes) -> Bytes> Frames<C> {
    /// Of an answer to a request for so many choices. `convert` makes whole events in OpenAI's form of whole events: those are
    /// [`as_they_are`] where the vendor's form is OpenAI's.
    pub(crate) fn new(events: EventStream, choices: u32, convert: C, redact: Redact) -> Self {
        Self {
            events: Some(events),
            convert,
            reader: FrameReader::new(choices),
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

impl<C: FnMut(Bytes) -> Bytes + Unpin> Stream for Frames<C> {
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
                    this.reader.push((this.convert)(item));
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

/// Events in OpenAI's form already.
pub(crate) fn as_they_are(events: Bytes) -> Bytes {
    events
}

/// Whatever else comes after the end is no part of the answer. Some servers put an empty choice beside their counts.
fn is_only_counts(frame: &Frame) -> bool {
    frame.usage().is_some() && frame.kind != FrameKind::Error && frame.info.text_bytes == 0
}

#[cfg(test)]
mod tests;
