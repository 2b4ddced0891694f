//! What the provider's frames are made of and in its own crate: a stream of events, the stage it has reached, and its errors.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;
use llm::outbound::openai::frames::AnswerFault;

use llm::outbound::openai::frames::Stage;

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ProviderError(#[from] AnswerFault);

pub(crate) trait Events: Stream<Item = Result<Bytes, ProviderError>> {
    fn reached(self: Pin<&mut Self>, stage: Stage);
}

pub(crate) type EventStream = Pin<Box<dyn Events + Send>>;

/// A stream that has come completely.
pub(crate) fn events_of(items: Vec<Bytes>) -> EventStream {
    Box::pin(Come(items.into_iter()))
}

struct Come(std::vec::IntoIter<Bytes>);

impl Stream for Come {
    type Item = Result<Bytes, ProviderError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next().map(Ok))
    }
}

impl Events for Come {
    fn reached(self: Pin<&mut Self>, _: Stage) {}
}
