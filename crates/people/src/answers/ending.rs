//! How an answer's end is told to its reader: a word that programs may rely on, and a sentence that says what to do.

use std::{fmt::Display, time::Duration};

use http::StatusCode;

use super::AnswerFailure;
use domain::conversation::Ending;
use gateway::{
    admission::Refused,
    completions::{CompletionError, stream::StreamError},
};
use llm::outbound::openai::said::{Finish, Objection};
use provider::ProviderError;

/// What was seen of an answer that the upstream ended in order.
#[derive(Debug, Clone, Copy, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each was seen or not, whatever the others are"
)]
pub(super) struct Seen {
    pub(super) finish: Option<Finish>,
    pub(super) has_text: bool,
    pub(super) has_thoughts: bool,
    pub(super) refused: bool,
    pub(super) calls_tools: bool,
    pub(super) omitted: Option<Omitted>,
}

/// What of the conversation the model was not sent, since it had refused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Omitted {
    /// It was too long for it.
    Oldest,
    Unanswered,
}

/// Why there is no more text, if that needs saying. Public reports: hermes-studio #3149, janhq/jan #418.
pub(super) fn of_finished(seen: Seen) -> Option<Ending> {
    let (reason, detail) = match (seen.finish, seen.has_text) {
        _ if seen.refused => ("refusal", "The model refused to answer this."),
        (Some(Finish::Length), true) => (
            "length",
            "The answer was cut off at the model's length limit. Ask it to go on.",
        ),
        (Some(Finish::Length), false) if seen.has_thoughts => (
            "length",
            "The model's reasoning reached its length limit before it had begun to answer. Ask for less, or choose another model.",
        ),
        (Some(Finish::Length), false) => (
            "length",
            "The model reached its length limit before it had begun to answer.",
        ),
        (Some(Finish::ContentFilter), _) => (
            "content_filter",
            "The provider's content filter stopped the answer here.",
        ),
        (_, false) if seen.calls_tools => (
            "tool_calls",
            "The model asked to call a tool. There are none here, so it gave no answer.",
        ),
        (Some(Finish::ToolCalls), true) => (
            "tool_calls",
            "The model then asked to call a tool, and there are none here.",
        ),
        (_, false) if seen.has_thoughts => ("empty", "The model reasoned, and ended without an answer."),
        (_, false) => ("empty", "The model ended without an answer."),
        (_, true) => match seen.omitted? {
            Omitted::Oldest => (
                "history_shortened",
                "The conversation is longer than this model can read at once, so it was sent the newest part only.",
            ),
            Omitted::Unanswered => (
                "history_shortened",
                "The model failed again with your earlier questions that have no answer, so it was sent this one without them.",
            ),
        },
    };
    Some(Ending::new(reason, detail))
}

pub(super) fn stopped() -> Ending {
    Ending::new(
        "stopped",
        "The answer was stopped, or its page was left, before it was finished.",
    )
}

pub(super) fn deleted() -> Ending {
    Ending::new("deleted", "This conversation was deleted, which ended its answer.")
}

/// For the reader only: what is stored then says nothing of it.
pub(super) fn stored_later() -> Ending {
    Ending::new(
        "stored_later",
        "The database is away for the moment. The answer is kept, and will be in the conversation when it is back.",
    )
}

pub(super) fn not_stored_yet() -> Ending {
    Ending::new(
        "not_stored",
        "The database is away for the moment, and the answer is not stored yet. Copy what you need of it.",
    )
}

pub(super) fn too_long() -> Ending {
    Ending::new("too_long", "The answer is longer than can be kept, and was ended here.")
}

impl AnswerFailure {
    /// What its reader is told, now and after every reload.
    pub fn ending(&self) -> Ending {
        match self {
            Self::Completion(error) => of_call(error),
            Self::Stream(StreamError::Provider(error)) => of_provider(error),
            Self::Stream(StreamError::Stopping) => shutting_down(),
            Self::Stream(StreamError::Revoked) => signed_out(),
            Self::Refused {
                objection: Objection::ContextLength,
                ..
            } => Ending::new(
                "context_length",
                "The conversation is too long for this model. Start a new conversation, shorten the question, or choose a model with a larger context.",
            ),
            Self::Refused {
                objection: Objection::ContentFilter,
                ..
            } => Ending::new("content_filter", "The provider's content filter refused the question."),
            Self::Refused {
                status: StatusCode::TOO_MANY_REQUESTS,
                retry_after,
                ..
            } => after(
                Ending::new("rate_limited", "The provider has too many requests at the moment."),
                *retry_after,
            ),
            Self::Refused { status, .. } => Ending::new(
                "provider_refused",
                format!("The provider refused the request with status {status}."),
            ),
            Self::Deleted => deleted(),
            Self::Store(_) => Ending::new(
                "not_stored",
                "The answer could not be stored, since the database is away.",
            ),
        }
    }
}

fn signed_out() -> Ending {
    Ending::new("signed_out", "The answer was ended when its reader was signed out.")
}

fn of_call(error: &CompletionError) -> Ending {
    match error {
        CompletionError::Provider(error) => of_provider(error),
        CompletionError::Stopping => shutting_down(),
        CompletionError::Revoked => signed_out(),
        CompletionError::UnknownModel(_) => {
            Ending::new("model_not_found", "This model is no longer there. Choose another one.")
        }
        CompletionError::Refused(Refused::Organization { retry_after }) => after(
            Ending::new(
                "organization_limit",
                "Your organisation has as many calls in flight as it may.",
            ),
            Some(*retry_after),
        ),
        CompletionError::Refused(Refused::Process { retry_after }) => after(
            Ending::new("overloaded", "The service has as many calls as it can take."),
            Some(*retry_after),
        ),
        CompletionError::BacklogFull(_) => after(
            Ending::new("overloaded", "Usage cannot be recorded for the moment."),
            Some(Duration::from_secs(5)),
        ),
        CompletionError::BadRequest(_) | CompletionError::WrongKind { .. } => {
            Ending::new("invalid_request", sentence(error))
        }
    }
}

fn of_provider(error: &ProviderError) -> Ending {
    if let ProviderError::NoMemory(_) = error {
        let message = "The service holds as many large answers as it can. Try again.";
        return after(Ending::new("overloaded", message), Some(Duration::from_secs(1)));
    }
    if let ProviderError::NoConnection { .. } = error {
        let message = "The service has as many calls to the provider as it can take. Try again.";
        return after(Ending::new("overloaded", message), Some(Duration::from_secs(1)));
    }
    let reason = if error.is_timeout() {
        "provider_timeout"
    } else {
        "provider_error"
    };
    Ending::new(reason, sentence(error))
}

fn shutting_down() -> Ending {
    after(
        Ending::new("shutting_down", "The server is being restarted. Try again."),
        Some(Duration::from_secs(5)),
    )
}

/// Whole seconds, rounded up so that nobody comes back too early.
fn after(ending: Ending, wait: Option<Duration>) -> Ending {
    let seconds = wait.map(|wait| wait.as_millis().div_ceil(1000).max(1));
    Ending {
        retry_after: seconds.and_then(|seconds| seconds.try_into().ok()),
        ..ending
    }
}

/// An error's words, set as a sentence.
fn sentence(error: &impl Display) -> String {
    let words = error.to_string();
    let mut letters = words.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str())
}

#[cfg(test)]
mod tests;
