//! One caller's view of a shared call.

mod events;

use std::{pin::Pin, sync::Arc, task::Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{End, Head, SharedCall};
use crate::{
    domain::{tokens::TokenUsage, usage::CallOutcome},
    provider::ProviderError,
    service::completions::{NoPlace, record::Recorder, stored::StoredAnswer},
};
use events::Closing;

/// Yields whole events. Dropping it leaves the call to the other readers.
pub struct SharedReader {
    call: Arc<SharedCall>,
    id: u64,
    /// Of those who share what another started: a record of their own, at no cost.
    own: Option<Recorder>,
    with_usage: bool,
    place: usize,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    closing: Closing,
}

/// What a caller gets first.
pub(in crate::service::completions) enum Begun {
    Whole {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    },
    Stream {
        headers: HeaderMap,
    },
}

/// Why there is nothing to get.
pub(in crate::service::completions) enum NotBegun {
    /// The call failed. Only who started it is told how.
    Failed(Option<ProviderError>),
    NoPlace(NoPlace),
    Stopping,
}

impl SharedReader {
    pub(in crate::service::completions) fn new(
        call: Arc<SharedCall>,
        own: Option<Recorder>,
        with_usage: bool,
        stop: CancellationToken,
    ) -> Self {
        let id = call.wakers.enter();
        Self {
            call,
            id,
            own,
            with_usage,
            place: 0,
            stop: Box::pin(stop.cancelled_owned()),
            closing: Closing::NotYet,
        }
    }

    /// Waits for the head of the answer.
    pub(in crate::service::completions) async fn begun(&mut self) -> Result<Begun, NotBegun> {
        let leads = self.own.is_none();
        std::future::poll_fn(|context| {
            let found = self.call.poll(self.id, context, |progress| {
                if let Some(head) = &progress.head {
                    return Some(Ok(match head.clone() {
                        Head::Whole { status, headers, body } => Begun::Whole { status, headers, body },
                        Head::Stream { headers } => Begun::Stream { headers },
                    }));
                }
                match &mut progress.end {
                    Some(End::Failed(error)) => Some(Err(NotBegun::Failed(error.take_if(|_| leads)))),
                    Some(End::NoPlace(error)) => Some(Err(NotBegun::NoPlace(*error))),
                    Some(End::Stopped) => Some(Err(NotBegun::Stopping)),
                    Some(End::Done(..)) | None => None,
                }
            });
            if found.is_pending() && self.stop.as_mut().poll(context).is_ready() {
                self.call.stop();
                return Poll::Ready(Err(NotBegun::Stopping));
            }
            found
        })
        .await
    }

    /// Waits for the whole of a stream, for a caller who wants no stream. `None` if it is not one to be remembered, as soon as
    /// that is known.
    pub(in crate::service::completions) async fn read_on(&mut self) -> Result<Option<StoredAnswer>, NotBegun> {
        let leads = self.own.is_none();
        std::future::poll_fn(|context| {
            let found = self.call.poll(self.id, context, |progress| match &mut progress.end {
                Some(End::Done(_, stored)) => Some(Ok(stored.clone())),
                Some(End::Failed(error)) => Some(Err(NotBegun::Failed(error.take_if(|_| leads)))),
                Some(End::NoPlace(error)) => Some(Err(NotBegun::NoPlace(*error))),
                Some(End::Stopped) => Some(Err(NotBegun::Stopping)),
                None => progress.is_too_long().then_some(Ok(None)),
            });
            if found.is_pending() && self.stop.as_mut().poll(context).is_ready() {
                self.call.stop();
                return Poll::Ready(Err(NotBegun::Stopping));
            }
            found
        })
        .await
    }

    /// What the answer consumed, or has consumed so far.
    pub fn tokens(&self) -> TokenUsage {
        let progress = self.call.progress();
        match &progress.end {
            Some(End::Done(usage, _)) => *usage,
            _ => progress.tokens(),
        }
    }

    /// The upstream told of an error inside the stream. The caller has seen it.
    pub fn has_failed(&self) -> bool {
        self.call.progress().course.has_failed
    }

    /// The record of one who shared, once it is known how it went.
    pub(in crate::service::completions) fn settle(&mut self, outcome: CallOutcome) {
        let tokens = self.tokens();
        if let Some(own) = &mut self.own {
            own.note_settled(tokens);
            own.finish(outcome);
        }
    }

    /// Gives up the record: the call failed, and the caller asks anew.
    pub(in crate::service::completions) fn withdraw(&mut self) {
        if let Some(own) = &mut self.own {
            own.withdraw();
        }
    }
}

impl Drop for SharedReader {
    fn drop(&mut self) {
        self.call.wakers.leave(self.id);
    }
}
