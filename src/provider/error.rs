//! What can go wrong between us and an upstream.

use std::time::Duration;

use http::StatusCode;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Times are the limits that ran out.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    #[error("the provider could not be reached")]
    Unreachable(#[source] Source),
    #[error("the provider took no connection within {0:?}")]
    ConnectTimeout(Duration),
    #[error("the provider sent nothing within {0:?}")]
    FirstByteTimeout(Duration),
    #[error("the provider paused for more than {0:?}")]
    ChunkTimeout(Duration),
    #[error("the provider had not finished within {0:?}")]
    TotalTimeout(Duration),
    /// The connection ended before the answer did.
    #[error("the provider broke off its answer")]
    BrokenOff(#[source] Source),
    /// 5xx, or 401/403: our credentials with the upstream are nothing the caller can mend.
    #[error("the provider answered {0}")]
    Status(StatusCode),
    /// Not HTTP we can pass on, or beyond `limit` bytes.
    #[error("the provider's answer is not usable: {0}")]
    BadReply(&'static str),
}

impl ProviderError {
    pub fn is_timeout(&self) -> bool {
        matches!(
            self,
            Self::ConnectTimeout(_) | Self::FirstByteTimeout(_) | Self::ChunkTimeout(_) | Self::TotalTimeout(_)
        )
    }

    /// A bounded label for metrics and usage records.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::ConnectTimeout(_) | Self::FirstByteTimeout(_) | Self::ChunkTimeout(_) | Self::TotalTimeout(_) => {
                "timeout"
            }
            Self::BrokenOff(_) => "broken_off",
            Self::Status(_) => "upstream_status",
            Self::BadReply(_) => "bad_reply",
        }
    }
}
