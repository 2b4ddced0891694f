//! A provider's stream on its way to the caller: each frame is recorded as it passes.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::Stream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{record::Recorder, stream::StreamError};
use domain::{tokens::TokenUsage, usage::CallOutcome};
use llm::frame::{Frame, FrameKind};
use provider::{FrameStream, ProviderError};

/// Yields the provider's frames but for counts that the caller did not ask for. An error is the last item. Dropping it ends the upstream call
/// and records the tokens so far.
pub(super) struct MeteredStream {
    /// `None` once the answer has ended.
    frames: Option<FrameStream>,
    recorder: Recorder,
    withhold_usage: bool,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    has_failed: bool,
}

impl MeteredStream {
    /// `stop` is cancelled when streams must end because the process is shutting down.
    pub(super) fn new(frames: FrameStream, recorder: Recorder, withhold_usage: bool, stop: CancellationToken) -> Self {
        Self {
            frames: Some(frames),
            recorder,
            withhold_usage,
            stop: Box::pin(stop.cancelled_owned()),
            has_failed: false,
        }
    }

    /// Consumed tokens so far.
    pub(super) fn tokens(&self) -> TokenUsage {
        self.recorder.tokens()
    }

    /// Whether the provider reported an error inside the stream, which the caller has seen.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Ends the call for a reason on our side.
    pub(super) fn fail(&mut self, error: &ProviderError) {
        self.frames = None;
        self.recorder.fail(error);
    }

    /// Whether the caller gets the frame. The record is filed before the last bytes are sent: the caller may disconnect on them, which must
    /// not make a finished answer look cancelled.
    fn take(&mut self, frame: &Frame) -> bool {
        if frame.info.text_bytes > 0 && frame.kind != FrameKind::Usage {
            self.recorder.note_text(frame.info.text_bytes);
        }
        if let Some(usage) = frame.usage() {
            self.recorder.note_usage(usage);
        }
        match frame.kind {
            FrameKind::Comment | FrameKind::Data => {}
            FrameKind::Usage => return !self.withhold_usage,
            FrameKind::Done => {
                self.frames = None;
                self.recorder.finish(CallOutcome::Completed);
            }
            FrameKind::Error => {
                self.frames = None;
                self.has_failed = true;
                self.recorder.fail(&ProviderError::ErrorInAnswer);
            }
        }
        true
    }
}

impl Stream for MeteredStream {
    type Item = Result<Frame, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Some(frames) = &mut this.frames else {
                return Poll::Ready(None);
            };
            match frames.as_mut().poll_next(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    if this.take(&frame) {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    this.frames = None;
                    this.recorder.fail(&error);
                    return Poll::Ready(Some(Err(error.into())));
                }
                Poll::Ready(None) => {
                    this.frames = None;
                    this.recorder.finish(CallOutcome::Completed);
                }
                Poll::Pending => {
                    ready!(this.stop.as_mut().poll(context));
                    this.frames = None;
                    // Our own fault: it does not count against the provider.
                    this.recorder.finish(CallOutcome::Cancelled);
                    return Poll::Ready(Some(Err(StreamError::Stopping)));
                }
            }
        }
    }
}
