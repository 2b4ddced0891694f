//! The task that makes a shared call and appends what comes to its log.

use std::{future::Future, sync::Arc};

use futures_util::StreamExt;
use http::{HeaderMap, StatusCode};
use tokio_util::sync::CancellationToken;

use super::{
    Log, SharedCall, StorePolicy,
    log::{End, Head, StartError, may_be_stored},
};
use crate::completions::{
    CompletionError, NoCapacity, attempt::Attempted, metered::MeteredStream, stored::StoredAnswer, stream::StreamError,
};
use bytes::Bytes;
use domain::tokens::TokenUsage;
use llm::{
    frame::{Frame, FrameKind},
    outbound,
};

/// Makes the call until it has ended, no reader is left, or the process stops.
pub(in crate::completions) async fn lead(
    call: Arc<SharedCall>,
    attempt: impl Future<Output = Result<Attempted, CompletionError>>,
    store: StorePolicy,
    stop: CancellationToken,
) {
    let leader = Leader { call, store };
    tokio::select! {
        biased;
        () = leader.run(attempt, stop) => {}
        () = leader.call.abandoned.cancelled() => {}
    }
}

/// Ends the call when it is dropped, so that no reader waits for a task that is gone.
struct Leader {
    call: Arc<SharedCall>,
    store: StorePolicy,
}

impl Leader {
    async fn run(&self, attempt: impl Future<Output = Result<Attempted, CompletionError>>, stop: CancellationToken) {
        let attempted = tokio::select! {
            biased;
            attempted = attempt => attempted,
            () = stop.cancelled() => Err(CompletionError::Stopping),
        };
        match attempted {
            Ok(Attempted::Whole {
                status,
                headers,
                body,
                tokens,
            }) => self.take_whole(status, headers, body, tokens),
            Ok(Attempted::Stream { headers, frames }) => {
                let may_be_stored = may_be_stored(&headers);
                self.call.append(|log| log.head = Some(Head::Stream { headers }));
                self.take_stream(frames, may_be_stored).await;
            }
            Err(error) => self.end(End::Broken(error.into())),
        }
    }

    fn end(&self, end: End) {
        self.call.append(|log| {
            log.end.get_or_insert(end);
        });
    }

    fn take_whole(&self, status: StatusCode, headers: HeaderMap, body: Bytes, tokens: TokenUsage) {
        let is_kept = status.is_success()
            && body.len() <= self.store.max_bytes
            && may_be_stored(&headers)
            // An empty answer is not stored, or every caller would get it until it expires.
            && outbound::is_full(self.store.endpoint, &body, self.store.choices);
        let stored = is_kept.then(|| self.keep(StoredAnswer::whole(&body, tokens)));
        self.call.append(|log| {
            log.tokens = tokens;
            log.head = Some(Head::Whole { status, headers, body });
            log.end = Some(End::Done(stored));
        });
    }

    async fn take_stream(&self, mut frames: Box<MeteredStream>, may_be_stored: bool) {
        let (mut complete, mut has_substance) = (0, false);
        while let Some(frame) = frames.next().await {
            let frame = match frame {
                Ok(frame) => frame,
                Err(StreamError::Provider(error)) => return self.end(End::Broken(StartError::Failed(Some(error)))),
                Err(StreamError::Stopping | StreamError::Revoked) => {
                    return self.end(End::Broken(StartError::Stopping));
                }
            };
            complete += frame.info.complete;
            has_substance |= frame.info.has_substance;
            let tokens = frames.tokens();
            let taken = self.call.append(|log| {
                log.tokens = tokens;
                take_frame(log, frame).map(|()| log.is_far_ahead())
            });
            match taken {
                Ok(false) => {}
                Ok(true) => self.wait_for_readers().await,
                Err(error) => {
                    frames.fail(&error);
                    return self.end(End::Broken(StartError::Failed(Some(error))));
                }
            }
        }
        let tokens = frames.tokens();
        let is_whole = may_be_stored && self.is_complete(complete) && has_substance;
        self.call.append(|log| {
            log.tokens = tokens;
            let is_kept = is_whole && log.last.is_some() && !log.has_failed && !log.is_too_long();
            let stored = is_kept.then(|| {
                let usage = log.usage.as_ref().map(|frame| frame.bytes.clone()).unwrap_or_default();
                self.keep(StoredAnswer::events(log.frames.iter(), &usage, tokens))
            });
            log.end = Some(End::Done(stored));
        });
    }

    /// Waits until a reader has come near.
    async fn wait_for_readers(&self) {
        loop {
            let read = self.call.read.notified();
            if !self.call.log().is_far_ahead() {
                return;
            }
            read.await;
        }
    }

    fn is_complete(&self, complete: u32) -> bool {
        self.store.choices > 0 && complete == self.store.choices
    }

    fn keep(&self, answer: StoredAnswer) -> StoredAnswer {
        self.store.answers.keep(self.store.key, answer.clone());
        answer
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.end(End::Broken(StartError::Failed(None)));
    }
}

/// Keeps the usage frame apart, which not every reader gets, and so the last one, which follows it.
fn take_frame(log: &mut Log, frame: Frame) -> Result<(), provider::ProviderError> {
    match frame.kind {
        FrameKind::Usage => log.usage = Some(frame),
        FrameKind::Done | FrameKind::Error => {
            log.has_failed |= frame.kind == FrameKind::Error;
            log.last = Some(frame);
        }
        FrameKind::Comment | FrameKind::Data => log.push(frame)?,
    }
    Ok(())
}

impl From<CompletionError> for StartError {
    fn from(error: CompletionError) -> Self {
        match error {
            CompletionError::Provider(error) => Self::Failed(Some(error)),
            CompletionError::BacklogFull(error) => Self::NoCapacity(NoCapacity::BacklogFull(error)),
            CompletionError::Refused(error) => Self::NoCapacity(NoCapacity::Refused(error)),
            CompletionError::Stopping | CompletionError::Revoked => Self::Stopping,
            CompletionError::BadRequest(_) | CompletionError::UnknownModel(_) | CompletionError::WrongKind { .. } => {
                Self::Failed(None)
            }
        }
    }
}
