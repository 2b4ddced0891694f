//! A stream on its way to the caller: forwarded as it comes, and read for metering.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{
    live::LiveStream,
    record::Recorder,
    shared::SharedReader,
    validation::{self, StreamValidator},
};
use domain::{tokens::TokenUsage, usage::CallOutcome};
use llm::sse;
use provider::{EventStream, ProviderError};

/// Why a stream ended before its answer did.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error("the server is shutting down")]
    Stopping,
    /// The key was revoked, or the session ended.
    #[error("the credential that this was asked for with is no longer good")]
    Revoked,
}

/// The answer's stream, whatever its source.
pub enum AnswerStream {
    Metered(Pin<Box<MeteredStream>>),
    /// A call that others may read as well.
    Shared(Box<SharedReader>),
    /// Any of these, as long as its credential is valid.
    Live(Box<LiveStream>),
    /// A cached answer: all of it at once.
    Replayed {
        events: Option<Bytes>,
        tokens: TokenUsage,
    },
}

impl AnswerStream {
    /// Consumed tokens so far.
    pub fn tokens(&self) -> TokenUsage {
        match self {
            Self::Metered(stream) => stream.tokens(),
            Self::Shared(stream) => stream.tokens(),
            Self::Live(stream) => stream.tokens(),
            Self::Replayed { tokens, .. } => *tokens,
        }
    }

    /// Whether the upstream reported an error inside the stream, which the caller has seen.
    pub fn has_failed(&self) -> bool {
        match self {
            Self::Metered(stream) => stream.has_failed(),
            Self::Shared(stream) => stream.has_failed(),
            Self::Live(stream) => stream.has_failed(),
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
            Self::Live(stream) => Pin::new(&mut **stream).poll_next(context),
            Self::Replayed { events, .. } => Poll::Ready(events.take().map(Ok)),
        }
    }
}

/// Yields whole events, unchanged except for errors and the usage chunk that the caller did not request. It ends after an
/// error, which is the last item, or after `[DONE]`, whatever the upstream sends then. Dropping it ends the upstream call
/// and records the tokens so far.
pub struct MeteredStream {
    /// `None` once the answer has ended.
    events: Option<EventStream>,
    recorder: Recorder,
    withhold_usage: bool,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    validation: StreamValidator,
    /// The error of an answer that has ended, for the last item.
    fault: Option<ProviderError>,
    /// The last item, while counts may follow it.
    last: Option<Last>,
}

/// Some servers send their counts after `[DONE]`. Time to wait for those, if none have come before and the stream does not
/// end.
pub(super) const COUNTS_AFTER_MARK: Duration = Duration::from_millis(50);

struct Last {
    item: Bytes,
    /// Set while the counts are waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl MeteredStream {
    pub(super) fn new(
        events: EventStream,
        validation: StreamValidator,
        recorder: Recorder,
        withhold_usage: bool,
        stop: CancellationToken,
    ) -> Self {
        Self {
            events: Some(events),
            recorder,
            withhold_usage,
            stop: Box::pin(stop.cancelled_owned()),
            validation,
            fault: None,
            last: None,
        }
    }

    /// Consumed tokens so far.
    pub fn tokens(&self) -> TokenUsage {
        self.recorder.tokens()
    }

    /// Whether the upstream reported an error inside the stream, which the caller has seen.
    pub fn has_failed(&self) -> bool {
        self.validation.has_failed
    }

    /// The stream has ended, or is not read any more. The record is filed before the last bytes are sent: the caller may
    /// disconnect on them, which must not make a finished answer look cancelled.
    fn finish(&mut self) {
        self.events = None;
        match self.validation.end() {
            Ok(()) => self.recorder.finish(CallOutcome::Completed),
            Err(error) => {
                self.recorder.fail(&error);
                self.fault = Some(error).filter(|_| !self.validation.has_failed);
            }
        }
    }

    /// Reads an item for metering, and returns what the caller gets of it; empty if that is nothing.
    fn pass(&mut self, item: Bytes) -> Bytes {
        let mut kept: Option<BytesMut> = None;
        let mut end = item.len();
        for event in sse::events(&item) {
            let (data, range) = (event.data(), event.range());
            if sse::is_done(data) && !self.validation.has_failed {
                self.validation.is_marked = true;
                // An error that follows must not come after `[DONE]`.
                let is_passed = self.validation.end().is_ok();
                end = if is_passed { range.end } else { range.start };
                if let Some(kept) = kept.as_mut().filter(|_| is_passed) {
                    kept.extend_from_slice(&item[range]);
                }
                continue;
            }
            let chunk = sse::scan_chunk(data);
            if self.validation.is_over() {
                // Some servers send their counts after `[DONE]`.
                if let Some(usage) = chunk.usage {
                    self.recorder.note_usage(usage);
                }
                continue;
            }
            let events = &mut self.events;
            self.validation.note(&chunk, |stage| {
                if let Some(events) = events {
                    events.as_mut().reached(stage);
                }
            });
            if chunk.text_bytes > 0 {
                self.recorder.note_text(chunk.text_bytes);
            }
            if let Some(usage) = chunk.usage {
                self.recorder.note_usage(usage);
                if self.withhold_usage && !chunk.has_choices {
                    kept.get_or_insert_with(|| BytesMut::from(&item[..range.start]));
                    continue;
                }
            }
            if chunk.failed || chunk.is_malformed || event.is_error() {
                self.validation.has_failed = true;
                let kept = kept.get_or_insert_with(|| BytesMut::from(&item[..range.start]));
                kept.extend_from_slice(&validation::error_event(self.recorder.provider(), data));
            } else if let Some(kept) = &mut kept {
                kept.extend_from_slice(&item[range]);
            }
        }
        match kept {
            Some(kept) => kept.freeze(),
            None if end == item.len() => item,
            None => item.slice(..end),
        }
    }

    /// Takes the counts that some servers send after `[DONE]`, if they have come with it, and lets the connection see its
    /// end.
    fn read_what_is_there(&mut self, context: &mut Context<'_>) {
        const MAX_EVENTS: usize = 4;
        for _ in 0..MAX_EVENTS {
            let Some(events) = &mut self.events else { return };
            match events.as_mut().poll_next(context) {
                Poll::Ready(Some(Ok(item))) => {
                    self.pass(item);
                }
                Poll::Ready(_) => self.events = None,
                Poll::Pending => return,
            }
        }
    }

    /// The last item, once nothing relevant follows it. `None` if there is none.
    fn poll_last(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.last.is_none() {
            return Poll::Ready(None);
        }
        self.read_what_is_there(context);
        if self.events.is_some()
            && !self.recorder.is_counted()
            && let Some(last) = &mut self.last
        {
            let timer = last
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(COUNTS_AFTER_MARK)));
            ready!(timer.as_mut().poll(context));
        }
        self.finish();
        let last = self.last.take().map(|last| last.item);
        Poll::Ready(last.filter(|item| !item.is_empty()))
    }
}

impl Stream for MeteredStream {
    type Item = Result<Bytes, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(last) = ready!(this.poll_last(context)) {
                return Poll::Ready(Some(Ok(last)));
            }
            let Some(events) = &mut this.events else {
                return Poll::Ready(this.fault.take().map(|error| Err(error.into())));
            };
            let Poll::Ready(item) = events.as_mut().poll_next(context) else {
                ready!(this.stop.as_mut().poll(context));
                this.events = None;
                // Our own fault: it does not count against the provider.
                this.recorder.finish(CallOutcome::Cancelled);
                return Poll::Ready(Some(Err(StreamError::Stopping)));
            };
            match item {
                Some(Ok(item)) => {
                    let passed = this.pass(item);
                    if this.validation.is_over() {
                        this.last = Some(Last {
                            item: passed,
                            timer: None,
                        });
                        continue;
                    }
                    if !passed.is_empty() {
                        return Poll::Ready(Some(Ok(passed)));
                    }
                }
                Some(Err(error)) => {
                    this.events = None;
                    this.recorder.fail(&error);
                    return Poll::Ready(Some(Err(error.into())));
                }
                None => this.finish(),
            }
        }
    }
}
