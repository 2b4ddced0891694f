//! Locks of files among processes. Children do not inherit them: the standard library closes its descriptors there.

use std::{
    fs::{self, File, OpenOptions},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::error::TaskError;

const POLL_INTERVAL: Duration = Duration::from_millis(50);

pub(crate) fn open(path: &Path) -> Result<File, TaskError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(TaskError::file(folder))?;
    }
    let mut options = OpenOptions::new();
    options
        .create(true)
        .append(true)
        .open(path)
        .map_err(TaskError::file(path))
}

/// Takes it by `take` as soon as it can be had; `what` is said where that takes too long.
pub(crate) fn within(
    limit: Duration,
    what: &str,
    mut take: impl FnMut() -> Result<(), fs::TryLockError>,
) -> Result<(), TaskError> {
    let deadline = Instant::now() + limit;
    loop {
        match take() {
            Ok(()) => return Ok(()),
            Err(fs::TryLockError::Error(error)) => return Err(TaskError::file("a lock")(error)),
            Err(fs::TryLockError::WouldBlock) if Instant::now() >= deadline => return TaskError::refused(what),
            Err(fs::TryLockError::WouldBlock) => thread::sleep(POLL_INTERVAL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{open, within};
    use std::time::Duration;

    #[test]
    fn waiting_for_a_lock_has_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/lock");
        let (first, second) = (open(&path).unwrap(), open(&path).unwrap());
        first.try_lock_shared().unwrap();
        let limit = Duration::from_millis(1);
        within(limit, "it takes long", || second.try_lock_shared()).unwrap();
        let error = within(limit, "it takes long", || second.try_lock()).unwrap_err();
        assert_eq!(error.to_string(), "it takes long");
        drop(first);
        within(limit, "it takes long", || second.try_lock()).unwrap();
    }
}
