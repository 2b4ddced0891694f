//! Writes one answer down while its reader watches.

use std::time::Duration;

use chrono::TimeDelta;
use futures_util::StreamExt;
use tokio::{sync::mpsc, time::MissedTickBehavior};

use super::{AnswerEvent, AnswerFailure};
use crate::{
    domain::{
        clock::Clock,
        conversation::{Message, MessageStatus},
        ids::{MessageId, OrganizationId},
        tokens::TokenUsage,
    },
    provider::{ProviderError, sse},
    service::completions::{Answer, Call, Completions, stream::StreamError},
    store::{self, StoreError},
};

/// How much of an answer a killed process can lose.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(2);
const CHECKPOINT_LIMIT: Duration = Duration::from_millis(250);
/// An answer that nobody has touched for this long has lost its writer: many missed checkpoints, and longer than the
/// longest outage of the database that a writer sits out.
pub(super) const SILENCE_MEANS_DEATH: TimeDelta = TimeDelta::seconds(120);
/// Attempts to keep a finished answer while the database is away, and the pause between two.
const KEEP_ATTEMPTS: u32 = 30;
const KEEP_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    pub(super) completions: Completions,
    pub(super) messages: store::messages::Messages,
    pub(super) clock: Clock,
    pub(super) organization: OrganizationId,
    pub(super) answer: Message,
    pub(super) replaces: Vec<MessageId>,
    pub(super) events: mpsc::Sender<AnswerEvent>,
}

/// How the writing went.
enum End {
    Complete(TokenUsage),
    /// The reader went away.
    Stopped,
    Failed(AnswerFailure),
}

impl Writer {
    pub(super) async fn run(mut self, started: AnswerEvent, call: Call) {
        let end = match self.events.send(started).await {
            Ok(()) => self.write(call).await,
            Err(_) => End::Stopped,
        };
        self.answer.status = match (&end, self.answer.content.is_empty()) {
            (End::Complete(_), _) => MessageStatus::Complete,
            (_, true) => MessageStatus::Failed,
            (_, false) => MessageStatus::Partial,
        };
        let kept = self.keep().await;
        let event = match (end, kept) {
            (End::Stopped, _) => return,
            (End::Failed(error), _) => AnswerEvent::Failed {
                answer: self.answer,
                error,
            },
            (End::Complete(_), Err(error)) => AnswerEvent::Failed {
                answer: self.answer,
                error: error.into(),
            },
            (End::Complete(tokens), Ok(())) => AnswerEvent::Done {
                answer: self.answer,
                tokens,
            },
        };
        // A reader who left in the meantime finds the answer in the conversation.
        let _ = self.events.send(event).await;
    }

    async fn write(&mut self, call: Call) -> End {
        let mut checkpoint = tokio::time::interval(CHECKPOINT_INTERVAL);
        checkpoint.set_missed_tick_behavior(MissedTickBehavior::Delay);
        checkpoint.reset();
        let completions = self.completions.clone();
        let mut asking = std::pin::pin!(completions.call(call));
        // Before the first byte the reader may leave as well; and a provider that thinks for minutes is no dead writer.
        let answer = loop {
            tokio::select! {
                answer = &mut asking => break answer,
                () = self.events.closed() => return End::Stopped,
                _ = checkpoint.tick() => self.checkpoint().await,
            }
        };
        let mut stream = match answer.map(|answered| answered.answer) {
            Ok(Answer::Stream { events, .. }) => events,
            Ok(Answer::Whole { status, body, .. }) if status.is_success() => return self.take_whole(&body).await,
            Ok(Answer::Whole { status, .. }) => return End::Failed(AnswerFailure::Refused(status)),
            Err(error) => return End::Failed(error.into()),
        };
        loop {
            tokio::select! {
                item = stream.next() => match item {
                    Some(Ok(item)) => {
                        let mut text = String::new();
                        for event in sse::events(&item) {
                            if let Some(delta) = sse::delta_text(event.data()) {
                                text.push_str(&delta);
                            }
                        }
                        if text.is_empty() {
                            continue;
                        }
                        // PostgreSQL cannot store it, and no reader can see it.
                        text.retain(|c| c != '\0');
                        self.answer.content.push_str(&text);
                        if self.events.send(AnswerEvent::Delta(text)).await.is_err() {
                            return End::Stopped;
                        }
                    }
                    Some(Err(error)) => return End::Failed(error.into()),
                    None if stream.has_failed() => {
                        let told = ProviderError::BadReply("it ended with an error");
                        return End::Failed(StreamError::from(told).into());
                    }
                    None => return End::Complete(stream.tokens()),
                },
                () = self.events.closed() => return End::Stopped,
                _ = checkpoint.tick() => self.checkpoint().await,
            }
        }
    }

    /// Best effort, and bounded so that a hung database does not freeze the text on the reader's screen: the end of the
    /// answer is what must arrive.
    async fn checkpoint(&self) {
        let now = self.clock.now();
        let kept = self
            .messages
            .checkpoint(self.organization, self.answer.id, &self.answer.content, now);
        let _ = tokio::time::timeout(CHECKPOINT_LIMIT, kept).await;
    }

    /// A provider that does not stream.
    async fn take_whole(&mut self, body: &[u8]) -> End {
        let usage = sse::usage_of_body(body).reported();
        let text = sse::answer_text(body).unwrap_or_default().replace('\0', "");
        self.answer.content.push_str(&text);
        match self.events.send(AnswerEvent::Delta(text)).await {
            Ok(()) => End::Complete(usage.unwrap_or_default()),
            Err(_) => End::Stopped,
        }
    }

    /// Stores the answer, through a short outage if need be: the reader has seen it already.
    async fn keep(&self) -> Result<(), StoreError> {
        // Whichever of the two has no place: the old answer, or a new one that came to nothing.
        let replaces = match (self.replaces.is_empty(), self.answer.content.is_empty()) {
            (true, _) => &[][..],
            (false, false) => &self.replaces,
            (false, true) => std::slice::from_ref(&self.answer.id),
        };
        let mut attempt = 1;
        loop {
            let now = self.clock.now();
            let kept = self
                .messages
                .finish_answer(
                    self.organization,
                    self.answer.id,
                    &self.answer.content,
                    self.answer.status,
                    replaces,
                    now,
                )
                .await;
            match kept {
                Err(StoreError::Unavailable(_)) if attempt < KEEP_ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(KEEP_PAUSE).await;
                }
                kept => return kept,
            }
        }
    }
}
