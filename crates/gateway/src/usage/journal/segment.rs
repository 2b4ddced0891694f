//! One file of the journal.
//!
//! The writer of a segment holds its lock, which the kernel releases when the process dies. An unlocked segment is
//! orphaned. So processes may share a directory, and each takes over the segments of dead processes, but none of living
//! ones.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use uuid::Uuid;

use super::{calls, reader::Reader};
use domain::usage::UsageRecord;

const EXTENSION: &str = "usage";
/// Extension of files that could not be read or filed, for a person to examine.
pub(super) const SET_ASIDE: &str = "damaged";
/// Extension until the file is locked, so that other processes ignore it.
const UNFINISHED: &str = "new";
/// Written and cut off again when a failed disk is tried again: a full one often still accepts an empty file.
static TRIAL: [u8; 64 * 1024] = [0; 64 * 1024];

/// A segment of this process.
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) file: Arc<File>,
    path: PathBuf,
    pub(super) bytes: u64,
    /// Number of bytes that are synced, so that they survive a lost machine.
    pub(super) synced: u64,
    /// The numbers of its records.
    pub(super) entries: Range<u64>,
    /// Records that the database has not confirmed.
    pub(super) waiting: u64,
    /// Set some time after it was sealed: the database should have its records by now.
    pub(super) aged: bool,
}

impl Segment {
    pub(super) fn create(directory: &Path, owner: Uuid, number: u64, trial: bool) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let path = directory.join(format!("{owner}-{number:012}.{EXTENSION}"));
        let unfinished = path.with_extension(UNFINISHED);
        let file = File::options().create(true).append(true).open(&unfinished)?;
        let ready = (|| {
            file.try_lock()?;
            if trial {
                (&file).write_all(&TRIAL)?;
            }
            file.set_len(0)?;
            fs::rename(&unfinished, &path)
        })();
        if let Err(error) = ready {
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        Ok(Self {
            number,
            file: Arc::new(file),
            path,
            bytes: 0,
            synced: 0,
            entries: 0..0,
            waiting: 0,
            aged: false,
        })
    }

    /// Puts the length into the file's name, so that a missing end is noticed.
    pub(super) fn seal(&mut self) -> io::Result<()> {
        let stem = self.path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
        let sealed = self.path.with_file_name(format!("{stem}-{}.{EXTENSION}", self.bytes));
        fs::rename(&self.path, &sealed)?;
        self.path = sealed;
        Ok(())
    }

    /// Removes the file. The lock is released after it, with the handle.
    pub(super) fn remove(self) -> io::Result<()> {
        remove(&self.path)
    }
}

/// Appends frames with one system call, and returns the number of bytes. On failure the file is cut off `at` its previous
/// length, if the disk still allows it; a reader would skip the partial frame.
pub(super) fn append(mut file: &File, frames: &[u8], at: u64) -> io::Result<u64> {
    if let Err(error) = file.write_all(frames) {
        let _ = file.set_len(at);
        return Err(error);
    }
    Ok(frames.len() as u64)
}

/// Older files cannot be ones that another process is just creating.
fn is_old(file: &File) -> bool {
    let changed = file.metadata().and_then(|metadata| metadata.modified());
    changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age > Duration::from_mins(1)))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Calls that were in flight when their process died, locked until this is dropped.
pub(crate) struct OpenCalls {
    pub(crate) records: Vec<UsageRecord>,
    pub(crate) damaged: u64,
    _lock: File,
}

/// A segment of a dead process, or the file of its calls in flight.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OrphanedSegment {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

impl OrphanedSegment {
    /// Files of other processes than `owner`, oldest first. Skips files that cannot be examined.
    pub(super) fn scan(directory: &Path, owner: Uuid) -> io::Result<Vec<Self>> {
        let owner = owner.to_string();
        let mut found = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            // The lock is not enough: on NFS a process does not conflict with its own lock.
            let own = path
                .file_name()
                .and_then(OsStr::to_str)
                .is_none_or(|name| name.starts_with(&owner));
            let extension = path.extension().and_then(OsStr::to_str);
            if own || !matches!(extension, Some(EXTENSION | UNFINISHED | calls::EXTENSION)) {
                continue;
            }
            let Ok(Some(file)) = hold(&path) else { continue };
            let bytes = file.metadata().map_or(0, |metadata| metadata.len());
            if extension != Some(UNFINISHED) && bytes > 0 {
                found.push(Self { path, bytes });
            } else if extension != Some(UNFINISHED) || is_old(&file) {
                let _ = remove(&path);
            }
        }
        found.sort();
        Ok(found)
    }

    /// Opens it, unless another process has it or it is gone. The lock is kept until the reader is dropped.
    pub(crate) fn open(&self) -> io::Result<Option<Reader<File>>> {
        Ok(hold(&self.path)?.map(Reader::new))
    }

    /// The calls that were in flight, unless another process has the file or it is gone.
    pub(crate) fn open_calls(&self) -> io::Result<Option<OpenCalls>> {
        let Some(file) = hold(&self.path)? else { return Ok(None) };
        let (records, damaged) = calls::read(&file)?;
        Ok(Some(OpenCalls {
            records,
            damaged,
            _lock: file,
        }))
    }

    /// Whether this is the file of calls in flight, which is filed after all records of the same process.
    pub(crate) fn is_of_calls(&self) -> bool {
        self.path.extension().and_then(OsStr::to_str) == Some(calls::EXTENSION)
    }

    /// Whether records of the same process, other than those `kept`, still have to be filed by some process.
    pub(crate) fn has_records_before(&self, kept: &BTreeSet<PathBuf>) -> io::Result<bool> {
        let (Some(folder), Some(owner)) = (self.path.parent(), self.path.file_stem().and_then(OsStr::to_str)) else {
            return Ok(false);
        };
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let is_theirs = path
                .file_name()
                .and_then(OsStr::to_str)
                .is_some_and(|name| name.starts_with(owner) && name.ends_with(EXTENSION));
            if is_theirs && !kept.contains(&path) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Number of bytes that it had when it was sealed and does not have any more.
    pub(crate) fn missing(&self) -> u64 {
        let stem = self.path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
        // The owner's id has four dashes of its own.
        let sealed = stem.splitn(7, '-').nth(6).and_then(|bytes| bytes.parse().ok());
        sealed.map_or(0, |sealed: u64| sealed.saturating_sub(self.bytes))
    }

    pub(super) fn set_aside(&self) -> io::Result<PathBuf> {
        let place = self.path.with_extension(SET_ASIDE);
        fs::rename(&self.path, &place)?;
        Ok(place)
    }

    pub(crate) fn remove(&self) -> io::Result<()> {
        remove(&self.path)
    }
}

/// The locked file; `None` if another process has it, or it does not exist any more.
fn hold(path: &Path) -> io::Result<Option<File>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
