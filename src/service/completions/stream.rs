//! A stream on its way to the caller: forwarded as it comes, read along for metering.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{record::Recorder, shared::SharedReader};
use crate::{
    domain::{tokens::TokenUsage, usage::Outcome},
    provider::{EventStream, ProviderError, sse},
};

/// Why a stream ended before its answer did.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error("the server is shutting down")]
    Stopping,
}

/// An answer on its way, however it came to be.
pub enum AnswerStream {
    Metered(Pin<Box<MeteredStream>>),
    /// Of a call that others may read as well.
    Shared(Box<SharedReader>),
    /// Remembered: all of it at once.
    Replayed {
        events: Option<Bytes>,
        tokens: TokenUsage,
    },
}

impl AnswerStream {
    /// What has been consumed so far.
    pub fn tokens(&self) -> TokenUsage {
        match self {
            Self::Metered(stream) => stream.tokens(),
            Self::Shared(stream) => stream.tokens(),
            Self::Replayed { tokens, .. } => *tokens,
        }
    }

    /// The upstream told of an error inside the stream. The caller has seen it.
    pub fn has_failed(&self) -> bool {
        match self {
            Self::Metered(stream) => stream.has_failed(),
            Self::Shared(stream) => stream.has_failed(),
            Self::Replayed { .. } => false,
        }
    }
}

impl Stream for AnswerStream {
    type Item = Result<Bytes, StreamError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.get_mut() {
            Self::Metered(stream) => stream.as_mut().poll_next(context),
            Self::Shared(stream) => Pin::new(&mut **stream).poll_next(context),
            Self::Replayed { events, .. } => Poll::Ready(events.take().map(Ok)),
        }
    }
}

/// Yields whole events, unchanged but for the usage chunk that the caller did not ask for. An error is the last item.
/// Dropping it ends the upstream call and records what went by.
pub struct MeteredStream {
    events: EventStream,
    recorder: Recorder,
    withhold_usage: bool,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    over: bool,
    /// The upstream sent an error in an event, and ended its stream in order.
    failed: bool,
}

impl MeteredStream {
    pub(super) fn new(events: EventStream, recorder: Recorder, withhold_usage: bool, stop: CancellationToken) -> Self {
        Self {
            events,
            recorder,
            withhold_usage,
            stop: Box::pin(stop.cancelled_owned()),
            over: false,
            failed: false,
        }
    }

    /// What has been consumed so far.
    pub fn tokens(&self) -> TokenUsage {
        self.recorder.tokens()
    }

    /// The upstream told of an error inside the stream. The caller has seen it.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    fn finish(&mut self) {
        if self.failed {
            self.recorder.fail(&ProviderError::ErrorInAnswer);
        } else {
            self.recorder.finish(Outcome::Completed);
        }
    }

    /// Reads along and gives what the caller is to see; empty if that is nothing.
    fn pass(&mut self, item: Bytes) -> Bytes {
        let mut kept: Option<BytesMut> = None;
        let mut is_over = false;
        for event in sse::events(&item) {
            let data = event.data();
            if sse::is_done(data) {
                is_over = true;
            } else {
                let chunk = sse::scan_chunk(data);
                self.failed |= chunk.failed;
                if chunk.text_bytes > 0 {
                    self.recorder.note_text(chunk.text_bytes);
                }
                if let Some(usage) = chunk.usage {
                    self.recorder.note_usage(usage);
                    if self.withhold_usage && !chunk.has_choices {
                        kept.get_or_insert_with(|| BytesMut::from(&item[..event.range().start]));
                        continue;
                    }
                }
            }
            if let Some(kept) = &mut kept {
                kept.extend_from_slice(&item[event.range()]);
            }
        }
        if is_over {
            // The caller may hang up on the mark, which must not make a finished answer look cancelled. Not before all that came with it has been
            // read: some servers count after they have said that it is over.
            self.finish();
        }
        kept.map_or(item, BytesMut::freeze)
    }
}

impl Stream for MeteredStream {
    type Item = Result<Bytes, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.over {
                return Poll::Ready(None);
            }
            if let Poll::Ready(item) = this.events.as_mut().poll_next(context) {
                match item {
                    Some(Ok(item)) => {
                        let passed = this.pass(item);
                        if !passed.is_empty() {
                            return Poll::Ready(Some(Ok(passed)));
                        }
                    }
                    Some(Err(error)) => {
                        this.over = true;
                        this.recorder.fail(&error);
                        return Poll::Ready(Some(Err(error.into())));
                    }
                    None => {
                        this.over = true;
                        this.finish();
                    }
                }
            } else {
                ready!(this.stop.as_mut().poll(context));
                this.over = true;
                // Our doing: nothing speaks against the provider.
                this.recorder.finish(Outcome::Cancelled);
                return Poll::Ready(Some(Err(StreamError::Stopping)));
            }
        }
    }
}
