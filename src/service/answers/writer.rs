//! Writes one answer down while its reader watches.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use futures_util::StreamExt;
use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior},
};

use super::{
    AnswerEvent, AnswerFailure, MOST_HISTORY,
    ending::{self, Seen},
    history,
};
use crate::{
    domain::{
        clock::Clock,
        conversation::{Ending, Message, MessageStatus},
        ids::MessageId,
        thoughts::{Piece, Splitter},
        tokens::TokenUsage,
    },
    provider::{
        Endpoint, ProviderError,
        sse::{self, said::Objection},
    },
    service::{
        completions::{
            Account, Answer, AnswerStream, Call, CompletionError, Completions, Freshness, stream::StreamError,
        },
        conversations::RunningAnswer,
    },
    store::{self, StoreError},
};

/// How much of an answer a killed process can lose.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(2);
const CHECKPOINT_LIMIT: Duration = Duration::from_millis(250);
/// An answer that nobody has touched for this long has lost its writer: many missed checkpoints. A writer that only sat out an
/// outage of the database revives its answer.
pub(super) const SILENCE_MEANS_DEATH: TimeDelta = TimeDelta::seconds(45);
/// Attempts to keep a finished answer while the database is away, and the pause between two.
const KEEP_ATTEMPTS: u32 = 30;
const KEEP_PAUSE: Duration = Duration::from_secs(1);
/// Longest answer, with its thoughts, in bytes: as much as a browser can still show.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// What is tried when a model says that a conversation is too long for it: parts of what it was sent first.
const SHORTER: [usize; 2] = [2, 8];

pub(super) struct Writer {
    pub(super) completions: Completions,
    pub(super) messages: store::messages::Messages,
    pub(super) clock: Clock,
    pub(super) account: Account,
    pub(super) running: RunningAnswer,
    /// Oldest first, and the question at its end.
    pub(super) history: Vec<Message>,
    pub(super) model: String,
    pub(super) arrived: Instant,
    /// Another answer is wanted than the one that may be remembered.
    pub(super) reload: bool,
    pub(super) answer: Message,
    pub(super) replaces: Vec<MessageId>,
    pub(super) events: mpsc::Sender<AnswerEvent>,
}

/// How the writing went.
enum End {
    Complete(TokenUsage, Option<Ending>),
    /// The reader went away.
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

impl Writer {
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
        let event = match (end, kept) {
            (End::Stopped, _) => return,
            (End::Failed(error), _) => self.failed(error),
            (_, Ok(false)) => self.failed(AnswerFailure::Deleted),
            (_, Err(error)) => self.failed(error.into()),
            (End::Complete(tokens, _) | End::TooLong(tokens), Ok(true)) => AnswerEvent::Done {
                answer: self.answer,
                tokens,
            },
        };
        // A reader who left in the meantime finds the answer in the conversation.
        let _ = self.events.send(event).await;
    }

    fn failed(&mut self, error: AnswerFailure) -> AnswerEvent {
        let mut answer = self.answer.clone();
        answer.ending = Some(error.ending());
        AnswerEvent::Failed { answer, error }
    }

    async fn write(&mut self) -> End {
        let mut checkpoint = tokio::time::interval(CHECKPOINT_INTERVAL);
        checkpoint.set_missed_tick_behavior(MissedTickBehavior::Delay);
        checkpoint.reset();
        let history = std::mem::take(&mut self.history);
        let mut turns = history::turns(&history, usize::try_from(MOST_HISTORY.bytes).unwrap_or(usize::MAX));
        let whole = (history::size(&turns), turns.len());
        let mut shorter = SHORTER.iter();
        loop {
            let shortened = turns.len() < whole.1;
            let answer = match self
                .call(history::request_body(&self.model, &turns), &mut checkpoint)
                .await
            {
                Ok(answer) => answer,
                Err(broken) => return broken,
            };
            let failure = match answer {
                Ok(Answer::Stream { events, .. }) => return self.take_stream(events, &mut checkpoint, shortened).await,
                Ok(Answer::Whole { status, body, .. }) if status.is_success() => {
                    return self.take_whole(&body, shortened).await;
                }
                Ok(Answer::Whole { status, headers, body }) => refused(status, &headers, &body),
                Err(error) => return End::Failed(error.into()),
            };
            let is_too_long = matches!(
                failure,
                AnswerFailure::Refused {
                    objection: Objection::ContextLength,
                    ..
                }
            );
            // A long question alone is not cut; who asked it is told instead.
            let Some(part) = shorter.next().filter(|_| is_too_long && turns.len() > 1) else {
                return End::Failed(failure);
            };
            turns = history::turns(&history, whole.0 / part);
        }
    }

    /// Waits for the beginning of an answer. The reader may leave before it; and a provider that thinks for minutes is no dead
    /// writer.
    async fn call(
        &self,
        body: bytes::Bytes,
        checkpoint: &mut Interval,
    ) -> Result<Result<Answer, CompletionError>, Broken> {
        let call = Call {
            endpoint: Endpoint::ChatCompletions,
            account: self.account,
            body,
            traceparent: None,
            arrived: self.arrived,
            freshness: Freshness {
                reload: self.reload,
                ..Freshness::default()
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

    /// Waits for what ends an answer early, or for the time to keep what there is of it.
    async fn interruption(&self, checkpoint: &mut Interval) -> Interruption {
        tokio::select! {
            () = self.events.closed() => Interruption::End(End::Stopped),
            () = self.running.deleted() => Interruption::End(End::Failed(AnswerFailure::Deleted)),
            _ = checkpoint.tick() => Interruption::Checkpoint,
        }
    }

    /// Not to be broken off: a query that is costs its connection.
    async fn attend(&self, interruption: Interruption) -> Result<(), Broken> {
        match interruption {
            Interruption::End(end) => Err(end),
            Interruption::Checkpoint if self.checkpoint().await => Ok(()),
            Interruption::Checkpoint => Err(End::Failed(AnswerFailure::Deleted)),
        }
    }

    async fn take_stream(&mut self, mut stream: AnswerStream, checkpoint: &mut Interval, shortened: bool) -> End {
        let (mut text, mut splitter) = (sse::TextReader::default(), Splitter::default());
        let mut seen = Seen {
            shortened,
            ..Seen::default()
        };
        let broken = loop {
            tokio::select! {
                item = stream.next() => match item {
                    Some(Ok(item)) => {
                        let piece = read(&item, &mut text, &mut splitter, &mut seen);
                        if let Err(broken) = self.take(piece).await {
                            break broken;
                        }
                        if self.is_too_long() {
                            break End::TooLong(stream.tokens());
                        }
                    }
                    Some(Err(error)) => break End::Failed(error.into()),
                    None if stream.has_failed() => {
                        let told = ProviderError::BadReply("it ended with an error");
                        break End::Failed(StreamError::from(told).into());
                    }
                    None => {
                        if let Some(last) = text.end() {
                            self.add(&splitter.push(last));
                        }
                        if let Err(broken) = self.take(splitter.finish()).await {
                            return broken;
                        }
                        return self.finished(stream.tokens(), seen);
                    }
                },
                interruption = self.interruption(checkpoint) => if let Err(broken) = self.attend(interruption).await {
                    break broken;
                },
            }
        };
        // What had arrived is kept, though its reader may be gone.
        let held = splitter.finish();
        self.add(&held);
        broken
    }

    /// A provider that does not stream.
    async fn take_whole(&mut self, body: &[u8], shortened: bool) -> End {
        let usage = sse::usage_of_body(body, true).reported;
        let mut splitter = Splitter::default();
        let mut seen = Seen {
            shortened,
            ..Seen::default()
        };
        let mut piece = Piece::default();
        let said = note(body, &mut seen);
        piece.thoughts.push_str(&said.thoughts);
        let text = sse::answer_text(body).unwrap_or_default();
        for told in [splitter.push(&text), splitter.push(&said.refusal), splitter.finish()] {
            piece.text.push_str(&told.text);
            piece.thoughts.push_str(&told.thoughts);
        }
        match self.take(piece).await {
            Ok(()) => self.finished(usage.map(TokenUsage::from).unwrap_or_default(), seen),
            Err(broken) => broken,
        }
    }

    fn finished(&mut self, tokens: TokenUsage, mut seen: Seen) -> End {
        // Where the opening mark of thoughts was swallowed, only the whole tells them apart.
        if self.answer.thoughts.is_none() {
            let told = crate::domain::thoughts::split(&self.answer.content);
            if !told.thoughts.is_empty() {
                self.answer.content = told.text;
                self.answer.thoughts = Some(told.thoughts);
            }
        }
        seen.has_text = !self.answer.content.trim().is_empty();
        seen.has_thoughts = self.answer.thoughts.is_some();
        End::Complete(tokens, ending::of_finished(seen))
    }

    /// Adds to the answer, and tells its reader.
    async fn take(&mut self, piece: Piece) -> Result<(), Broken> {
        let piece = self.add(&piece);
        let (thoughts, text) = (piece.thoughts, piece.text);
        for event in [
            (!thoughts.is_empty()).then_some(AnswerEvent::Thoughts(thoughts)),
            (!text.is_empty()).then_some(AnswerEvent::Delta(text)),
        ]
        .into_iter()
        .flatten()
        {
            // A reader who does not read, in a conversation that is deleted, holds up nobody.
            tokio::select! {
                sent = self.events.send(event) => if sent.is_err() {
                    return Err(End::Stopped);
                },
                () = self.running.deleted() => return Err(End::Failed(AnswerFailure::Deleted)),
            }
        }
        Ok(())
    }

    /// Without NUL, which PostgreSQL cannot store and no reader can see.
    fn add(&mut self, piece: &Piece) -> Piece {
        let piece = Piece {
            text: piece.text.replace('\0', ""),
            thoughts: piece.thoughts.replace('\0', ""),
        };
        self.answer.content.push_str(&piece.text);
        if !piece.thoughts.is_empty() {
            self.answer.thoughts.get_or_insert_default().push_str(&piece.thoughts);
        }
        piece
    }

    fn is_too_long(&self) -> bool {
        let thoughts = self.answer.thoughts.as_ref().map_or(0, String::len);
        self.answer.content.len() + thoughts > MAX_ANSWER
    }

    /// Best effort, and bounded so that a hung database does not freeze the text on the reader's screen: the end of the
    /// answer is what must arrive. False if there is nobody any more to keep it for.
    async fn checkpoint(&self) -> bool {
        let now = self.clock.now();
        let kept = self.messages.checkpoint(self.account.organization, &self.answer, now);
        !matches!(tokio::time::timeout(CHECKPOINT_LIMIT, kept).await, Ok(Ok(false)))
    }

    /// Stores the answer, through a short outage if need be: the reader has seen it already. False if there is nowhere to
    /// store it.
    async fn keep(&self) -> Result<bool, StoreError> {
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
                .finish_answer(self.account.organization, &self.answer, replaces, now)
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

/// Reads what a stream's item says to a person.
fn read(item: &[u8], reader: &mut sse::TextReader, splitter: &mut Splitter, seen: &mut Seen) -> Piece {
    let mut piece = Piece::default();
    for event in sse::events(item) {
        let said = note(event.data(), seen);
        piece.thoughts.push_str(&said.thoughts);
        let text = reader.read(event.data()).unwrap_or_default();
        for told in [splitter.push(&text), splitter.push(&said.refusal)] {
            piece.text.push_str(&told.text);
            piece.thoughts.push_str(&told.thoughts);
        }
    }
    piece
}

fn note(data: &[u8], seen: &mut Seen) -> sse::said::Said {
    let said = sse::said::said(data);
    seen.finish = said.finish.or(seen.finish);
    seen.refused |= !said.refusal.is_empty();
    seen.calls_tools |= said.calls_tools;
    said
}

fn refused(status: http::StatusCode, headers: &http::HeaderMap, body: &[u8]) -> AnswerFailure {
    let seconds = headers
        .get(http::header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    AnswerFailure::Refused {
        status,
        objection: sse::said::objection(body),
        retry_after: seconds.map(Duration::from_secs),
    }
}
