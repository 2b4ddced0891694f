//! Why there is no model file, in sentences for the person who started it.

use std::{io, path::PathBuf, time::Duration};

/// Failures of finding and fetching the file.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    #[error("{} cannot be used as a model: {reason}", path.display())]
    Unusable { path: PathBuf, reason: String },
    #[error("{} cannot be {action}: {source}", path.display())]
    Disk {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "the disk of {} is too full for the model: {} MB are free, {} MB are needed; free some, or choose another folder by MAPLE_CACHE",
        folder.display(), megabytes(*free), megabytes(*needed)
    )]
    Space { folder: PathBuf, free: u64, needed: u64 },
    #[error("the disk of {} has become full; free some space, or choose another folder by MAPLE_CACHE", folder.display())]
    Full { folder: PathBuf },
    #[error("another process has been fetching the model for {} minutes; end it, or wait for it and try again", waited.as_secs() / 60)]
    LockTimeout { waited: Duration },
    #[error("{from} is not reached: {reason}")]
    Unreachable { from: String, reason: String },
    #[error("the transfer from {from} ended at {} of {} MB: {reason}; what has come is kept, and the next attempt goes on from there",
        megabytes(*done), megabytes(*total))]
    Interrupted {
        from: String,
        done: u64,
        total: u64,
        reason: String,
    },
    #[error("{from} answered with status {status} and the type {kind} in place of the model: {meaning}")]
    NotTheModel {
        from: String,
        status: u16,
        kind: String,
        meaning: &'static str,
    },
    #[error("{from} leads to {to}: {reason}")]
    Redirect {
        from: String,
        to: String,
        reason: &'static str,
    },
    #[error(
        "what {from} sent is not the model, twice: its SHA-256 is {found}, expected is {expected}; nothing of it is kept or used"
    )]
    Damaged {
        from: String,
        found: String,
        expected: String,
    },
    #[error("LOCAL_MODEL_URL is {url}, which is no http or https address")]
    Mirror { url: String },
    #[error("pip {reason}")]
    Pip { reason: String },
    #[error(
        "{}. Get {file} in another way and name it (LOCAL_MODEL=PATH), name a mirror (LOCAL_MODEL_URL=ADDRESS), or do without (LOCAL_MODEL=off)",
        sentences(failures)
    )]
    NoSource { failures: Vec<WeightsError>, file: String },
}

impl WeightsError {
    /// Whether the same attempt may succeed later without costing a transfer each time.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Interrupted { .. }
            | Self::NotTheModel { .. }
            | Self::Space { .. }
            | Self::Full { .. }
            | Self::LockTimeout { .. }
            | Self::Redirect { .. }
            | Self::Pip { .. } => true,
            Self::NoSource { failures, .. } => failures.iter().all(Self::may_pass),
            Self::Unusable { .. } | Self::Disk { .. } | Self::Damaged { .. } | Self::Mirror { .. } => false,
        }
    }

    /// An error of the disk; a full one has a sentence of its own.
    pub(crate) fn disk(action: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::StorageFull {
            let folder = path.parent().unwrap_or(path).to_owned();
            return Self::Full { folder };
        }
        Self::Disk {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// Whole millions of bytes, rounded up.
pub(crate) fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}

fn sentences(failures: &[WeightsError]) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_in_a_sentence_of_its_own() {
        let full = io::Error::from(rustix::io::Errno::NOSPC);
        let message = WeightsError::disk("written", std::path::Path::new("/cache/model.part"), full).to_string();
        assert!(
            message.contains("/cache has become full") && message.contains("MAPLE_CACHE"),
            "{message}"
        );
    }
}
