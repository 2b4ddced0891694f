//! What can go wrong between us and an upstream.

use std::time::Duration;

use http::StatusCode;

use concurrency::memory::Exhausted;
use llm::outbound::openai::frames::AnswerFault;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Times are the limits that ran out.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    #[error("the provider could not be reached")]
    Unreachable(#[source] Source),
    #[error("the provider took no connection within {0:?}")]
    ConnectTimeout(Duration),
    /// Ours, not the provider's: there are as many connections to it as `max_connections` allows.
    #[error("all {max} connections to the provider were in use for {waited:?}")]
    NoConnection { max: usize, waited: Duration },
    #[error("the provider sent nothing within {0:?}")]
    FirstByteTimeout(Duration),
    #[error("the provider's answer had not begun within {0:?}")]
    FirstContentTimeout(Duration),
    #[error("the provider paused for more than {0:?}")]
    ChunkTimeout(Duration),
    #[error("the provider had not finished within {0:?}")]
    TotalTimeout(Duration),
    /// The connection ended before the answer did.
    #[error("the provider broke off its answer")]
    BrokenOff(#[source] Source),
    /// The answer ended in order, and before it was complete: neither a finish reason nor the last mark had come.
    #[error("the provider ended its answer before it was complete")]
    EndedEarly,
    /// An error in place of an answer, or within one, under a status of success.
    #[error("the provider reported an error in place of an answer")]
    ErrorInAnswer,
    /// 5xx, or 401/403: our credentials with the upstream are nothing the caller can mend.
    #[error("the provider answered {0}")]
    Status(StatusCode),
    /// 503 or 529 with a time to come back at.
    #[error("the provider answered {status}: it has more to do than it can")]
    Busy { status: StatusCode, retry_after: Duration },
    /// Ours, not the provider's: there is no room for its answer.
    #[error(transparent)]
    NoMemory(#[from] Exhausted),
    /// Not HTTP we can pass on, or beyond `limit` bytes.
    #[error("the provider's answer is not usable: {0}")]
    BadReply(&'static str),
}

impl ProviderError {
    pub fn is_timeout(&self) -> bool {
        matches!(
            self,
            Self::ConnectTimeout(_)
                | Self::FirstByteTimeout(_)
                | Self::FirstContentTimeout(_)
                | Self::ChunkTimeout(_)
                | Self::TotalTimeout(_)
        )
    }

    /// Whether the call may have been at the provider, so that it says something of how long calls take.
    pub fn has_reached(&self) -> bool {
        !matches!(
            self,
            Self::Unreachable(_) | Self::ConnectTimeout(_) | Self::NoConnection { .. }
        )
    }

    /// Whether it says nothing of the provider: a bound of our own was reached.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::NoMemory(_) | Self::NoConnection { .. })
    }

    /// What the provider answered, if it answered.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status(status) | Self::Busy { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// All that [`Self::kind`] says.
    pub const KINDS: [&str; 8] = [
        "unreachable",
        "no_connection",
        "timeout",
        "broken_off",
        "error_in_answer",
        "upstream_status",
        "no_memory",
        "bad_reply",
    ];

    /// A bounded label for metrics and the log, one of [`Self::KINDS`].
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::NoConnection { .. } => "no_connection",
            Self::ConnectTimeout(_)
            | Self::FirstByteTimeout(_)
            | Self::FirstContentTimeout(_)
            | Self::ChunkTimeout(_)
            | Self::TotalTimeout(_) => "timeout",
            Self::BrokenOff(_) | Self::EndedEarly => "broken_off",
            Self::ErrorInAnswer => "error_in_answer",
            Self::Status(_) | Self::Busy { .. } => "upstream_status",
            Self::NoMemory(_) => "no_memory",
            Self::BadReply(_) => "bad_reply",
        }
    }
}

impl From<AnswerFault> for ProviderError {
    fn from(fault: AnswerFault) -> Self {
        match fault {
            AnswerFault::EndedEarly => Self::EndedEarly,
            AnswerFault::Error => Self::ErrorInAnswer,
            AnswerFault::NoAnswer(why) => Self::BadReply(why),
        }
    }
}
