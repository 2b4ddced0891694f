//! The answer's stream as its caller reads it, whatever its source.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::Stream;

use super::{metered::MeteredStream, policy::Approval, shared::SharedReader};
use crate::live_calls::LiveCall;
use domain::tokens::TokenUsage;
use llm::{frame::Frame, outbound::of_stored};
use provider::{ProviderError, registry::OpenCall};

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

/// Yields frames; an error is the last item. Dropping it ends the upstream call unless others read it, and records the tokens so far.
pub struct AnswerStream {
    source: Source,
    /// Ends the stream with its credential.
    live: Option<LiveCall>,
    /// The call's entry at a server on this machine, until the answer has ended.
    _open: Option<OpenCall>,
}

enum Source {
    Metered(Box<MeteredStream>),
    /// A call that others may read as well.
    Shared(Box<SharedReader>),
    Stored(StoredFrames),
    Ended {
        tokens: TokenUsage,
        has_failed: bool,
    },
}

/// A whole answer as events, read one by one only for those who want frames.
struct StoredFrames {
    events: Bytes,
    frames: Option<Box<dyn Iterator<Item = Frame> + Send>>,
    tokens: TokenUsage,
}

impl AnswerStream {
    pub(super) fn metered(stream: Box<MeteredStream>) -> Self {
        Self::of(Source::Metered(stream))
    }

    pub(super) fn shared(reader: SharedReader) -> Self {
        Self::of(Source::Shared(Box::new(reader)))
    }

    /// Of the events of a complete answer, which consumed `tokens`.
    pub(super) fn stored(events: Bytes, tokens: TokenUsage) -> Self {
        Self::of(Source::Stored(StoredFrames {
            events,
            frames: None,
            tokens,
        }))
    }

    fn of(source: Source) -> Self {
        Self {
            source,
            live: None,
            _open: None,
        }
    }

    /// The same, which holds what its call holds, and ends with the credential that it was asked for with.
    pub(super) fn tied_to(self, approval: Approval) -> Self {
        Self {
            live: Some(approval.live),
            _open: approval.open,
            ..self
        }
    }

    /// Consumed tokens so far.
    pub fn tokens(&self) -> TokenUsage {
        match &self.source {
            Source::Metered(stream) => stream.tokens(),
            Source::Shared(stream) => stream.tokens(),
            Source::Stored(stored) => stored.tokens,
            Source::Ended { tokens, .. } => *tokens,
        }
    }

    /// Whether the provider reported an error inside the stream, which the caller has seen.
    pub fn has_failed(&self) -> bool {
        match &self.source {
            Source::Metered(stream) => stream.has_failed(),
            Source::Shared(stream) => stream.has_failed(),
            Source::Stored(_) => false,
            Source::Ended { has_failed, .. } => *has_failed,
        }
    }

    /// The bytes of the frames; those of a stored answer all at once.
    pub fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, StreamError>>> {
        if let Source::Stored(StoredFrames {
            events, frames: None, ..
        }) = &mut self.source
        {
            let all = std::mem::take(events);
            return Poll::Ready((!all.is_empty()).then_some(Ok(all)));
        }
        let frame = ready!(Pin::new(self).poll_next(context));
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.bytes)))
    }

    fn end(&mut self) -> Poll<Option<Result<Frame, StreamError>>> {
        self.source = Source::Ended {
            tokens: self.tokens(),
            has_failed: self.has_failed(),
        };
        self.live = None;
        Poll::Ready(Some(Err(StreamError::Revoked)))
    }
}

impl Stream for AnswerStream {
    type Item = Result<Frame, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        // Looked at before each frame: a provider may never make anybody wait.
        if this.live.as_ref().is_some_and(LiveCall::is_ended) {
            return this.end();
        }
        let item = match &mut this.source {
            Source::Metered(stream) => Pin::new(&mut **stream).poll_next(context),
            Source::Shared(stream) => Pin::new(&mut **stream).poll_next(context),
            Source::Stored(stored) => return Poll::Ready(stored.next().map(Ok)),
            Source::Ended { .. } => return Poll::Ready(None),
        };
        if item.is_ready() {
            return item;
        }
        let Some(live) = &mut this.live else {
            return Poll::Pending;
        };
        ready!(live.poll_ended(context));
        this.end()
    }
}

impl StoredFrames {
    fn next(&mut self) -> Option<Frame> {
        let frames = self
            .frames
            .get_or_insert_with(|| Box::new(of_stored(std::mem::take(&mut self.events))));
        frames.next()
    }
}
