//! Why a task did not get to its end.

use std::{error::Error, io};

#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    /// The whole sentence: what is wrong, and what the caller can do.
    #[error("{0}")]
    Refused(String),
    #[error("cannot start {program}")]
    Start {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("{command} failed (above)")]
    Failed { command: String },
    #[error("{command} did not answer in JSON")]
    NotJson {
        command: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("cannot use {path}")]
    File {
        path: String,
        #[source]
        source: io::Error,
    },
    /// Says nothing: whoever sent it knows.
    #[error("ended by signal {signal}")]
    Signalled { signal: i32 },
}

impl TaskError {
    pub(crate) fn refused<T>(text: impl Into<String>) -> Result<T, Self> {
        Err(Self::Refused(text.into()))
    }

    pub(crate) fn file(path: impl AsRef<std::path::Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().display().to_string();
        |source| Self::File { path, source }
    }

    /// With its causes.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        text
    }
}
