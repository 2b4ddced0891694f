//! Reading an answer as it comes: its text, its thoughts, and why it ends.

use std::time::Instant;

use futures_util::StreamExt;
use tokio::time::Interval;

use super::{AnswerWriter, Broken, End};
use crate::answers::{
    AnswerEvent, AnswerFailure,
    ending::{self, Omitted, Seen},
};
use domain::{
    thoughts::{Piece, Splitter, split},
    tokens::TokenUsage,
};
use gateway::completions::{AnswerStream, stream::StreamError};
use llm::{
    frame::{Frame, FrameKind},
    outbound::openai::{
        chunk::{TextReader, answer_text, usage_of_body},
        said::{Said, said},
    },
    sse,
};
use provider::ProviderError;

/// Longest answer, with its thoughts, in bytes: as much as a browser can still show.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

impl AnswerWriter {
    pub(super) async fn take_stream(
        &mut self,
        mut stream: AnswerStream,
        checkpoint: &mut Interval,
        omitted: Option<Omitted>,
    ) -> End {
        let (mut text, mut splitter) = (TextReader::default(), Splitter::default());
        let mut seen = Seen {
            omitted,
            ..Seen::default()
        };
        let broken = loop {
            tokio::select! {
                item = stream.next() => match item {
                    Some(Ok(frame)) => {
                        if self.begun.is_none()
                            && frame.kind == FrameKind::Comment
                            && let Some(progress) = sse::progress(&frame.bytes)
                            && let Err(broken) = self.tell(AnswerEvent::Reading(progress)).await
                        {
                            break broken;
                        }
                        let piece = read(&frame, &mut text, &mut splitter, &mut seen);
                        if let Err(broken) = self.take(piece).await {
                            break broken;
                        }
                        if self.is_too_long() {
                            break End::TooLong(stream.tokens());
                        }
                    }
                    Some(Err(error)) => break End::Failed(error.into()),
                    None if stream.has_failed() => {
                        let split = ProviderError::BadReply("it ended with an error");
                        break End::Failed(StreamError::from(split).into());
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
        let rest = splitter.finish();
        self.add(&rest);
        broken
    }

    /// A provider that does not stream.
    pub(super) async fn take_whole(&mut self, body: &[u8], omitted: Option<Omitted>) -> End {
        let usage = usage_of_body(body, true).reported;
        let mut splitter = Splitter::default();
        let mut seen = Seen {
            omitted,
            ..Seen::default()
        };
        let mut piece = Piece::default();
        let body = String::from_utf8_lossy(body);
        let said = note(body.as_bytes(), &mut seen);
        piece.thoughts.push_str(&said.thoughts);
        let text = answer_text(body.as_bytes()).unwrap_or_default();
        for split in [splitter.push(&text), splitter.push(&said.refusal), splitter.finish()] {
            piece.text.push_str(&split.text);
            piece.thoughts.push_str(&split.thoughts);
        }
        match self.take(piece).await {
            Ok(()) => self.finished(usage.map(TokenUsage::from).unwrap_or_default(), seen),
            Err(broken) => broken,
        }
    }

    fn finished(&mut self, tokens: TokenUsage, mut seen: Seen) -> End {
        self.took = self.begun.map(|begun| begun.elapsed());
        // Where the opening mark of thoughts was swallowed, only the whole tells them apart.
        if self.answer.thoughts.is_none() {
            let split = split(&self.answer.content);
            if !split.thoughts.is_empty() {
                self.answer.content = split.text;
                self.answer.thoughts = Some(split.thoughts);
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
        if !(thoughts.is_empty() && text.is_empty()) {
            self.begun.get_or_insert_with(Instant::now);
        }
        for event in [
            (!thoughts.is_empty()).then_some(AnswerEvent::Thoughts(thoughts)),
            (!text.is_empty()).then_some(AnswerEvent::Delta(text)),
        ]
        .into_iter()
        .flatten()
        {
            self.tell(event).await?;
        }
        Ok(())
    }

    /// A reader who does not read, in a conversation that is deleted, holds up nobody.
    async fn tell(&self, event: AnswerEvent) -> Result<(), Broken> {
        tokio::select! {
            sent = self.events.send(event) => sent.map_err(|_| End::Stopped),
            () = self.running.deleted() => Err(End::Failed(AnswerFailure::Deleted)),
        }
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
}

/// Reads what a frame says to a person.
fn read(frame: &Frame, reader: &mut TextReader, splitter: &mut Splitter, seen: &mut Seen) -> Piece {
    let mut piece = Piece::default();
    if frame.kind != FrameKind::Data {
        return piece;
    }
    // A character that a server cut in two costs no more than itself.
    let data = frame.data();
    let data = String::from_utf8_lossy(&data);
    let said = note(data.as_bytes(), seen);
    piece.thoughts.push_str(&said.thoughts);
    let text = reader.read(data.as_bytes()).unwrap_or_default();
    for split in [splitter.push(&text), splitter.push(&said.refusal)] {
        piece.text.push_str(&split.text);
        piece.thoughts.push_str(&split.thoughts);
    }
    piece
}

fn note(data: &[u8], seen: &mut Seen) -> Said {
    let said = said(data);
    seen.finish = said.finish.or(seen.finish);
    seen.refused |= !said.refusal.is_empty();
    seen.calls_tools |= said.calls_tools;
    said
}
