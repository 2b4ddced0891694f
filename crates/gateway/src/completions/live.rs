//! A stream that ends with the credential it was asked for with.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::Stream;

use super::stream::{AnswerStream, StreamError};
use crate::live_calls::LiveCall;
use domain::tokens::TokenUsage;
use provider::registry::OpenCall;

/// Passes on what it is given until the credential ends. Then the stream is dropped, which ends the upstream call and records
/// what went by.
pub struct LiveStream {
    events: Option<AnswerStream>,
    live: LiveCall,
    tokens: TokenUsage,
    _open: Option<OpenCall>,
}

impl LiveStream {
    /// `open` is the call's entry at a server on this machine.
    pub(super) fn new(events: AnswerStream, live: LiveCall, open: Option<OpenCall>) -> Self {
        Self {
            events: Some(events),
            live,
            tokens: TokenUsage::default(),
            _open: open,
        }
    }

    /// What has been consumed so far.
    pub fn tokens(&self) -> TokenUsage {
        self.events.as_ref().map_or(self.tokens, AnswerStream::tokens)
    }

    /// The upstream told of an error inside the stream. The caller has seen it.
    pub fn has_failed(&self) -> bool {
        self.events.as_ref().is_some_and(AnswerStream::has_failed)
    }

    fn end(&mut self) -> Poll<Option<Result<Bytes, StreamError>>> {
        self.tokens = self.tokens();
        self.events = None;
        Poll::Ready(Some(Err(StreamError::Revoked)))
    }
}

impl Stream for LiveStream {
    type Item = Result<Bytes, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(events) = &mut this.events else {
            return Poll::Ready(None);
        };
        // Looked at before each event: an upstream may never make anybody wait.
        if this.live.is_ended() {
            return this.end();
        }
        if let Poll::Ready(item) = Pin::new(events).poll_next(context) {
            return Poll::Ready(item);
        }
        ready!(this.live.poll_ended(context));
        this.end()
    }
}
