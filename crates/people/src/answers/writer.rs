//! Writes one answer to the database while its reader watches.

mod keeping;
mod reading;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::TimeDelta;
use keeping::Kept;
use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior},
};

use super::{
    AnswerEvent, AnswerFailure, HISTORY_LIMIT,
    ending::{self, Omitted},
    history::{self, Unanswered},
    spool::Spool,
};
use crate::{conversations::RunningAnswer, titles::Untitled};
use domain::{
    clock::Clock,
    conversation::{Ending, Message, MessageStatus},
    ids::MessageId,
    principal::Principal,
    tokens::TokenUsage,
};
use gateway::completions::{CacheDirectives, Call, CallResponse, CompletionError, Completions};
use llm::{
    Endpoint,
    outbound::openai::said::{self, Objection},
};

/// How much of an answer a killed process can lose.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(2);
/// An answer without a checkpoint for this long has lost its writer: many checkpoints were missed. A writer that only
/// waited out an outage of the database revives its answer.
pub(super) const SILENCE_MEANS_DEATH: TimeDelta = TimeDelta::seconds(45);
/// Fractions of the history to retry with when a model says that the conversation is too long for it.
const SHORTER: [usize; 2] = [2, 8];

pub(super) struct AnswerWriter {
    pub(super) completions: Completions,
    pub(super) messages: store::messages::Messages,
    /// Answers that the database does not accept.
    pub(super) spool: Option<Spool>,
    pub(super) clock: Clock,
    pub(super) principal: Principal,
    pub(super) running: RunningAnswer,
    /// Oldest first, and the question at its end.
    pub(super) history: Vec<Message>,
    pub(super) model: String,
    pub(super) arrived: Instant,
    /// A new answer is wanted instead of the cached one.
    pub(super) reload: bool,
    pub(super) answer: Message,
    pub(super) replaces: Vec<MessageId>,
    pub(super) events: mpsc::Sender<AnswerEvent>,
    /// When the first text came, and how long it took.
    pub(super) begun: Option<Instant>,
    pub(super) took: Option<Duration>,
    /// Set if the model may give the conversation a title.
    pub(super) untitled: Option<Untitled>,
}

/// The result of writing.
enum End {
    Complete(TokenUsage, Option<Ending>),
    /// The reader has disconnected.
    Stopped,
    TooLong(TokenUsage),
    Failed(AnswerFailure),
}

/// An end before the upstream's.
type Broken = End;

enum Interruption {
    End(Broken),
    Checkpoint,
}

impl AnswerWriter {
    pub(super) async fn run(mut self, started: AnswerEvent) {
        let end = match self.events.send(started).await {
            Ok(()) => self.write().await,
            Err(_) => End::Stopped,
        };
        self.answer.ending = match &end {
            End::Complete(_, ending) => ending.clone(),
            End::Stopped => Some(ending::stopped()),
            End::TooLong(_) => Some(ending::too_long()),
            End::Failed(error) => Some(error.ending()),
        };
        self.answer.status = match (&end, self.answer.content.is_empty()) {
            (_, true) => MessageStatus::Failed,
            (End::Complete(..), false) => MessageStatus::Complete,
            (_, false) => MessageStatus::Partial,
        };
        let kept = self.keep().await;
        let is_stored = matches!(kept, Kept::Stored) && self.answer.status == MessageStatus::Complete;
        let is_titled = is_stored && self.untitled.take().is_some_and(Untitled::begin);
        // A reader that disconnected meanwhile finds the answer in the conversation.
        let _ = self.events.send(self.end_event(end, &kept, is_titled)).await;
        if matches!(kept, Kept::NotYet) {
            self.keep_on().await;
        }
    }

    /// The final event, with the end and the state of the answer.
    fn end_event(&self, end: End, kept: &Kept, is_titled: bool) -> AnswerEvent {
        let mut answer = self.answer.clone();
        let error = match (end, kept) {
            (End::Failed(error), _) => error,
            (_, Kept::Gone) => AnswerFailure::Deleted,
            (_, Kept::Never(error)) => AnswerFailure::Store(Arc::clone(error)),
            (End::Complete(tokens, _) | End::TooLong(tokens), _) => {
                let place = match kept {
                    Kept::Spooled => Some(ending::stored_later()),
                    Kept::NotYet => Some(ending::not_stored_yet()),
                    _ => None,
                };
                answer.ending = answer.ending.or(place);
                return AnswerEvent::Done {
                    answer,
                    tokens,
                    took: self.took,
                    is_titled,
                };
            }
            // No reader receives this.
            (End::Stopped, _) => return AnswerEvent::Delta(String::new()),
        };
        answer.ending = Some(error.ending());
        AnswerEvent::Failed { answer, error }
    }

    async fn write(&mut self) -> End {
        let mut checkpoint = tokio::time::interval(CHECKPOINT_INTERVAL);
        checkpoint.set_missed_tick_behavior(MissedTickBehavior::Delay);
        checkpoint.reset();
        let history = std::mem::take(&mut self.history);
        let room = usize::try_from(HISTORY_LIMIT.bytes).unwrap_or(usize::MAX);
        let (mut unanswered, mut omitted) = (Unanswered::Joined, None);
        let mut prompt = history::prompt(&history, room, unanswered);
        let whole = history::size(&prompt);
        let mut shorter = SHORTER.iter();
        loop {
            let answer = match self
                .call(history::request_body(&self.model, &prompt), &mut checkpoint)
                .await
            {
                Ok(answer) => answer,
                Err(broken) => return broken,
            };
            let failure = match answer {
                Ok(CallResponse::Stream { events, .. }) => {
                    return self.take_stream(events, &mut checkpoint, omitted).await;
                }
                Ok(CallResponse::Whole { status, body, .. }) if status.is_success() => {
                    return self.take_whole(&body, omitted).await;
                }
                Ok(CallResponse::Whole { status, headers, body }) => refused(status, &headers, &body),
                Err(error) => error.into(),
            };
            let is_too_long = matches!(
                failure,
                AnswerFailure::Refused {
                    objection: Objection::ContextLength,
                    ..
                }
            );
            // A long question alone is not cut; the reader gets an error instead.
            let next = if is_too_long && prompt.len() > 1 {
                omitted = Some(Omitted::Oldest);
                shorter
                    .next()
                    .map(|part| history::prompt(&history, whole / part, unanswered))
            } else if unanswered == Unanswered::Joined && may_lie_in_the_question(&failure) {
                unanswered = Unanswered::LeftOut;
                omitted = Some(Omitted::Unanswered);
                let without = history::prompt(&history, room, unanswered);
                Some(without).filter(|without| history::size(without) < history::size(&prompt))
            } else {
                None
            };
            let Some(next) = next else {
                return End::Failed(failure);
            };
            prompt = next;
        }
    }

    /// Waits for the beginning of an answer. The reader may disconnect before it, and a provider that thinks for minutes
    /// must not make the writer look dead.
    async fn call(
        &self,
        body: bytes::Bytes,
        checkpoint: &mut Interval,
    ) -> Result<Result<CallResponse, CompletionError>, Broken> {
        let call = Call {
            endpoint: Endpoint::ChatCompletions,
            principal: self.principal,
            body,
            traceparent: None,
            arrived: self.arrived,
            cache_directives: CacheDirectives {
                reload: self.reload,
                ..CacheDirectives::default()
            },
        };
        let mut asking = std::pin::pin!(self.completions.call(call));
        loop {
            tokio::select! {
                answer = &mut asking => return Ok(answer.map(|answered| answered.answer)),
                interruption = self.interruption(checkpoint) => self.attend(interruption).await?,
            }
        }
    }

    /// Waits for an early end of the answer, or for the next checkpoint.
    async fn interruption(&self, checkpoint: &mut Interval) -> Interruption {
        tokio::select! {
            () = self.events.closed() => Interruption::End(End::Stopped),
            () = self.running.deleted() => Interruption::End(End::Failed(AnswerFailure::Deleted)),
            _ = checkpoint.tick() => Interruption::Checkpoint,
        }
    }

    /// Must not be cancelled: a cancelled query costs its connection.
    async fn attend(&self, interruption: Interruption) -> Result<(), Broken> {
        match interruption {
            Interruption::End(end) => Err(end),
            Interruption::Checkpoint if self.checkpoint().await => Ok(()),
            Interruption::Checkpoint => Err(End::Failed(AnswerFailure::Deleted)),
        }
    }
}

/// Whether the same provider could answer another question at the same time.
fn may_lie_in_the_question(failure: &AnswerFailure) -> bool {
    use http::StatusCode;
    match failure {
        AnswerFailure::Refused { status, .. } => matches!(
            *status,
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY
        ),
        AnswerFailure::Completion(CompletionError::Provider(error)) => {
            error.status() == Some(StatusCode::INTERNAL_SERVER_ERROR)
        }
        _ => false,
    }
}

fn refused(status: http::StatusCode, headers: &http::HeaderMap, body: &[u8]) -> AnswerFailure {
    let seconds = headers
        .get(http::header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    AnswerFailure::Refused {
        status,
        objection: said::objection(body),
        retry_after: seconds.map(Duration::from_secs),
    }
}
