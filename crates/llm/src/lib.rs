//! Wire formats of models' APIs: what is read of a request, what is read of an answer, and one form of it made from the other.
//!
//! Bytes in, bytes out: no sockets, no tasks, no clock. Where a caller and a provider speak the same format the bytes pass as they came, changed
//! only in the model's name and in what metering needs: written anew they would break signatures and the providers' own caches of prompts.

pub mod canonical;
pub mod conversion;
pub mod frame;
pub mod inbound;
pub mod outbound;
pub mod sse;

/// Which upstream operation is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    ChatCompletions,
    Embeddings,
}

impl Endpoint {
    /// OpenTelemetry's name for it.
    pub fn operation(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat",
            Self::Embeddings => "embeddings",
        }
    }
}
