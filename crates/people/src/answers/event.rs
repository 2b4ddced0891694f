//! What a reader of an answer sees, and why there is nothing to see.

use std::{sync::Arc, time::Duration};

use crate::conversations::ConversationError;
use domain::{conversation::Message, tokens::TokenUsage};
use gateway::completions::{CompletionError, stream::StreamError};
use llm::{outbound::openai::said::Objection, sse::Progress};
use store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    #[error(transparent)]
    Conversation(#[from] ConversationError),
    #[error("the conversation has no question to answer")]
    NothingAsked,
    #[error("no chat model is configured")]
    NoModel,
    #[error("another answer is being written in the conversation")]
    InProgress,
    #[error("the conversation has messages that the question does not know of")]
    Changed,
    #[error("the task that stores the question ended before it had")]
    Ended,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a reader of an answer sees, in this order: `Started`, any number of `Reading`, of `Thoughts` and `Delta`, then `Done` or `Failed`.
#[derive(Debug)]
pub enum AnswerEvent {
    /// `question` is absent when an answer is asked for again.
    Started {
        question: Option<Message>,
        answer: Message,
    },
    /// How far the model is in reading the conversation, where it says so.
    Reading(Progress),
    /// What the model writes before its answer.
    Thoughts(String),
    Delta(String),
    /// `answer.ending` says if there is something to tell all the same.
    Done {
        answer: Message,
        tokens: TokenUsage,
        /// From the first of its text, or of what the model wrote before that, to its end; nothing for one that came all at once.
        took: Option<Duration>,
        /// The conversation may get another title within seconds.
        is_titled: bool,
    },
    /// What had arrived is kept in `answer`, with the reason.
    Failed {
        answer: Message,
        error: AnswerFailure,
    },
}

/// Why an answer broke off.
#[derive(Debug, thiserror::Error)]
pub enum AnswerFailure {
    #[error(transparent)]
    Completion(#[from] CompletionError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The upstream's refusal, such as of a prompt that is too long.
    #[error("the provider refused the request with status {status}")]
    Refused {
        status: http::StatusCode,
        objection: Objection,
        retry_after: Option<Duration>,
    },
    #[error("the conversation was deleted")]
    Deleted,
    /// The text was shown but could not be kept.
    #[error(transparent)]
    Store(Arc<StoreError>),
}
