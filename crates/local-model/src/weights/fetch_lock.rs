//! One process at a time fetches a file.

use std::{
    fs::{self, File, TryLockError},
    thread,
    time::{Duration, Instant},
};

use super::{Progress, Settings, WeightsError, cache::Place};

const LOOK: Duration = Duration::from_millis(250);

/// Held while this process fetches; the kernel takes the lock back however the process ends.
#[derive(Debug)]
pub(crate) struct FetchLock {
    _lock: File,
}

/// Waits for the process that fetches the file now, and shows how far that one is.
pub(crate) fn acquire(
    place: &Place,
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<FetchLock, WeightsError> {
    let path = place.folder.join(format!("{}.lock", settings.model.file));
    let failed = |error| WeightsError::disk("locked", &path, error);
    let lock = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed)?;
    let began = Instant::now();
    let mut is_noted = false;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(FetchLock { _lock: lock }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) => {}
        }
        if !is_noted {
            progress.note("Another process is fetching the model; waiting for it");
            is_noted = true;
        }
        if began.elapsed() >= settings.limits.lock_timeout {
            return Err(WeightsError::LockTimeout {
                waited: began.elapsed(),
            });
        }
        if let Ok(part) = fs::metadata(&place.download) {
            progress.bytes(part.len().min(settings.model.size), settings.model.size);
        }
        thread::sleep(LOOK.min(settings.limits.lock_timeout));
    }
}
