//! One caller's view of a shared call.

mod events;

use std::{pin::Pin, sync::Arc, task::Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{End, Head, SharedCall};
use crate::completions::{NoCapacity, record::Recorder, stored::StoredAnswer};
use domain::{tokens::TokenUsage, usage::CallOutcome};
use events::Closing;
use provider::ProviderError;

/// Yields whole events. Dropping it leaves the call to the other readers.
pub struct SharedReader {
    call: Arc<SharedCall>,
    id: u64,
    /// The usage record of a reader that joined, at no cost; `None` for the caller that started the call.
    own: Option<Recorder>,
    with_usage: bool,
    position: usize,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    closing: Closing,
}

/// The head of the response, with the body unless it is streamed.
pub(in crate::completions) enum ResponseHead {
    Whole {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    },
    Stream {
        headers: HeaderMap,
    },
}

/// Why there is no response.
pub(in crate::completions) enum StartError {
    /// The call failed. Only the caller that started it gets the error.
    Failed(Option<ProviderError>),
    NoCapacity(NoCapacity),
    Stopping,
}

impl SharedReader {
    pub(in crate::completions) fn new(
        call: Arc<SharedCall>,
        own: Option<Recorder>,
        with_usage: bool,
        stop: CancellationToken,
    ) -> Self {
        let id = call.wakers.add_reader();
        Self {
            call,
            id,
            own,
            with_usage,
            position: 0,
            stop: Box::pin(stop.cancelled_owned()),
            closing: Closing::NotYet,
        }
    }

    /// Waits for the response head.
    pub(in crate::completions) async fn head(&mut self) -> Result<ResponseHead, StartError> {
        let leads = self.own.is_none();
        std::future::poll_fn(|context| {
            let found = self.call.poll(self.id, context, |progress| {
                if let Some(head) = &progress.head {
                    return Some(Ok(match head.clone() {
                        Head::Whole { status, headers, body } => ResponseHead::Whole { status, headers, body },
                        Head::Stream { headers } => ResponseHead::Stream { headers },
                    }));
                }
                match &mut progress.end {
                    Some(End::Failed(error)) => Some(Err(StartError::Failed(error.take_if(|_| leads)))),
                    Some(End::NoCapacity(error)) => Some(Err(StartError::NoCapacity(*error))),
                    Some(End::Stopped) => Some(Err(StartError::Stopping)),
                    Some(End::Done(..)) | None => None,
                }
            });
            if found.is_pending() && self.stop.as_mut().poll(context).is_ready() {
                self.call.stop();
                return Poll::Ready(Err(StartError::Stopping));
            }
            found
        })
        .await
    }

    /// Waits for the complete stream, for a caller that did not request streaming. `None` as soon as it is certain that the
    /// answer cannot be stored.
    pub(in crate::completions) async fn read_whole(&mut self) -> Result<Option<StoredAnswer>, StartError> {
        let leads = self.own.is_none();
        std::future::poll_fn(|context| {
            let found = self.call.poll(self.id, context, |progress| match &mut progress.end {
                Some(End::Done(_, stored)) => Some(Ok(stored.clone())),
                Some(End::Failed(error)) => Some(Err(StartError::Failed(error.take_if(|_| leads)))),
                Some(End::NoCapacity(error)) => Some(Err(StartError::NoCapacity(*error))),
                Some(End::Stopped) => Some(Err(StartError::Stopping)),
                None => progress.is_too_long().then_some(Ok(None)),
            });
            if found.is_pending() && self.stop.as_mut().poll(context).is_ready() {
                self.call.stop();
                return Poll::Ready(Err(StartError::Stopping));
            }
            found
        })
        .await
    }

    /// Tokens that the answer consumed, so far if it goes on.
    pub fn tokens(&self) -> TokenUsage {
        let progress = self.call.progress();
        match &progress.end {
            Some(End::Done(usage, _)) => *usage,
            _ => progress.tokens(),
        }
    }

    /// Whether the upstream reported an error inside the stream, which the caller has seen.
    pub fn has_failed(&self) -> bool {
        self.call.progress().validation.has_failed
    }

    /// Completes the usage record of a reader that joined.
    pub(in crate::completions) fn settle(&mut self, outcome: CallOutcome) {
        let tokens = self.tokens();
        if let Some(own) = &mut self.own {
            own.note_settled(tokens);
            own.finish(outcome);
        }
    }

    /// Withdraws the usage record: the call failed, and the caller tries again.
    pub(in crate::completions) fn withdraw(&mut self) {
        if let Some(own) = &mut self.own {
            own.withdraw();
        }
    }
}

impl Drop for SharedReader {
    fn drop(&mut self) {
        self.call.wakers.remove_reader(self.id);
    }
}
