//! How far an answer has come, and whether it is complete when its stream ends.

use crate::outbound::openai::chunk::ChunkInfo;

/// The stage of a stream, which decides how long the next pause may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The first text of the answer. Models send the role or comments first, and may then think for a minute.
    Content,
    /// A finish reason: only usage and `[DONE]` may follow.
    Finished,
}

/// Why what came under a status of success is no complete answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    #[error("it ended before it was complete")]
    EndedEarly,
    #[error("it is an error in place of an answer")]
    Error,
    #[error("{0}")]
    NoAnswer(&'static str),
}

/// What a stream has contained so far.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each says something else of the stream")]
pub struct AnswerProgress {
    /// A chunk with choices.
    has_answer: bool,
    has_text: bool,
    /// A finish reason, and no text since.
    is_finished: bool,
    /// Choices that have not finished.
    open: u32,
    /// `[DONE]` has come.
    is_marked: bool,
    /// An error event has come.
    has_failed: bool,
}

pub(in crate::outbound::openai) const NO_ANSWER: AnswerFault = AnswerFault::NoAnswer("there is no answer in it");

impl AnswerProgress {
    /// For a request of so many choices.
    pub fn of(choices: u32) -> Self {
        Self {
            has_answer: false,
            has_text: false,
            is_finished: false,
            open: choices.max(1),
            is_marked: false,
            has_failed: false,
        }
    }

    /// Records a chunk, and tells each stage that the answer reaches with it. One of several choices finishes before the others,
    /// and some gateways send a finish reason with every chunk (1jehuang/jcode #1326): text after it reopens the answer.
    pub fn note(&mut self, chunk: &ChunkInfo, mut reach: impl FnMut(Stage)) {
        self.has_answer |= chunk.has_choices;
        if chunk.text_bytes > 0 && (self.is_finished || !self.has_text) {
            self.is_finished = false;
            self.has_text = true;
            reach(Stage::Content);
        }
        if chunk.finished > 0 {
            self.is_finished = true;
            self.open = self.open.saturating_sub(chunk.finished);
            if self.open == 0 {
                reach(Stage::Finished);
            }
        }
    }

    pub fn mark(&mut self) {
        self.is_marked = true;
    }

    pub fn fail(&mut self) {
        self.has_failed = true;
    }

    /// Whether nothing more goes to the caller. Some servers keep the connection open after an error as well
    /// (EricLBuehler/mistral.rs #1874).
    pub fn is_over(self) -> bool {
        self.is_marked || self.has_failed
    }

    /// Whether a stream that ends here is complete. A killed worker or a restarted proxy also ends its stream cleanly
    /// (NVIDIA/TensorRT-LLM #18289). Many servers send no `[DONE]`, and some no finish reason, but a complete answer has at least
    /// one of them.
    pub fn end(self) -> Result<(), AnswerFault> {
        if self.has_failed {
            Err(AnswerFault::Error)
        } else if !(self.is_finished || self.is_marked) {
            Err(AnswerFault::EndedEarly)
        } else if self.has_answer {
            Ok(())
        } else {
            Err(NO_ANSWER)
        }
    }
}

#[cfg(test)]
mod tests;
