//! Why a measurement could not be made.

use std::io;

/// Failures of the harness itself; a failed request is not one of them, it is counted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("{what}: {source}")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
    #[error("{0}")]
    Usage(String),
    #[error("the gateway did not answer within {seconds} s; its log ends:\n{log}")]
    NotReady { seconds: u64, log: String },
    #[error("{what}: answered {status}: {body}")]
    Refused {
        what: &'static str,
        status: u16,
        body: String,
    },
    #[error("{what}: the answer lacks `{field}`")]
    Incomplete { what: &'static str, field: &'static str },
}

/// Names what was being done when an I/O call failed.
pub(crate) trait During<T> {
    fn during(self, what: impl Into<String>) -> Result<T, BenchError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, what: impl Into<String>) -> Result<T, BenchError> {
        self.map_err(|error| BenchError::Io {
            what: what.into(),
            source: error.into(),
        })
    }
}
