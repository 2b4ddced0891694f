//! Room on the disk.

use std::{io, path::Path};

use super::{Settings, WeightsError};

/// Bytes that this user may still write where `path` is.
pub fn free(path: &Path) -> io::Result<u64> {
    let about = rustix::fs::statvfs(path)?;
    Ok(about.f_bavail.saturating_mul(about.f_frsize))
}

/// Refuses a transfer that cannot fit. A file system that does not tell is taken for large enough: a full one is noticed in writing.
pub(crate) fn ensure(settings: &Settings, needed: u64) -> Result<(), WeightsError> {
    match (settings.free_space)(&settings.folder) {
        Ok(free) if free < needed => Err(WeightsError::Space {
            folder: settings.folder.clone(),
            free,
            needed,
        }),
        _ => Ok(()),
    }
}
