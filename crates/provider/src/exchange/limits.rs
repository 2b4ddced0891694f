//! How long an upstream may take for what.

use std::time::Duration;

use configuration::{ProviderConfig, ProviderKind};

/// See [`ProviderConfig`](configuration::ProviderConfig) for what each limit covers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UpstreamTimeouts {
    pub(crate) first_byte: Duration,
    pub(crate) first_content: Duration,
    pub(crate) chunk: Duration,
    /// For an answer that is not streamed.
    pub(crate) whole: Duration,
    pub(crate) total: Duration,
    /// The server gives signs of life before the first text, so that `chunk` holds between those as well.
    pub(crate) is_lively: bool,
    /// Silence of a stream after which its caller is sent a comment.
    pub(crate) keep_alive: Duration,
}

/// Half of what common proxies allow a response.
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(15);

impl UpstreamTimeouts {
    pub(super) fn of(config: &ProviderConfig) -> Self {
        Self {
            first_byte: config.first_byte_timeout,
            first_content: config.first_content_timeout,
            chunk: config.chunk_timeout,
            whole: config.whole_timeout,
            total: config.total_timeout,
            keep_alive: KEEP_ALIVE_AFTER,
            is_lively: config.kind == ProviderKind::Local,
        }
    }

    /// Of an answer that is not streamed, whose head and body come when all of it has been thought of.
    pub(super) fn of_whole(self) -> Self {
        let total = self.total.min(self.whole);
        Self {
            first_byte: total,
            total,
            ..self
        }
    }
}
