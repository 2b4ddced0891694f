//! One file of the journal.
//!
//! Who writes a segment holds its lock, which the kernel gives back when the process dies. A segment that nobody holds is
//! left over. So processes may share a directory, and each takes up what a dead one left, but nothing of a living one.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use uuid::Uuid;

use super::{calls, reader::Reader};
use domain::usage::UsageRecord;

const EXTENSION: &str = "usage";
/// What could not be read, or not be filed, and is for a person to look at.
pub(super) const SET_ASIDE: &str = "damaged";
/// Until it is locked, when nobody else is to look at it.
const UNFINISHED: &str = "new";
/// Written and cut off again when a disk that failed is tried anew: a full one often still takes an empty file.
static TRIAL: [u8; 64 * 1024] = [0; 64 * 1024];

/// A segment of this process.
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) file: Arc<File>,
    path: PathBuf,
    pub(super) bytes: u64,
    /// How many of the bytes a lost machine would not take with it.
    pub(super) synced: u64,
    /// Records that the database has not confirmed.
    pub(super) waiting: u64,
    /// Of all its records those that the disk did not take.
    pub(super) missing: u64,
    /// Has been sealed for a while: its records should be in the database by now.
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
            waiting: 0,
            missing: 0,
            aged: false,
        })
    }

    /// Notes in the file's name how long it is, so that a piece that is missing at its end is missed.
    pub(super) fn seal(&mut self) -> io::Result<()> {
        let stem = self.path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
        let sealed = self.path.with_file_name(format!("{stem}-{}.{EXTENSION}", self.bytes));
        fs::rename(&self.path, &sealed)?;
        self.path = sealed;
        Ok(())
    }

    /// Takes the file away. The lock goes with the handle, after it.
    pub(super) fn remove(self) -> io::Result<()> {
        remove(&self.path)
    }
}

/// Appends frames with one system call; gives how many bytes. On failure nothing of them stays, if the disk still lets it be
/// cut off `at` its length before; a reader would pass over the piece.
pub(super) fn append(mut file: &File, frames: &[u8], at: u64) -> io::Result<u64> {
    if let Err(error) = file.write_all(frames) {
        let _ = file.set_len(at);
        return Err(error);
    }
    Ok(frames.len() as u64)
}

/// Too old to be just being made by another process.
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

/// Calls that a process had under way when it died, held until this is dropped.
pub(crate) struct OpenCalls {
    pub(crate) records: Vec<UsageRecord>,
    pub(crate) damaged: u64,
    _lock: File,
}

/// A segment of a process that died, or its calls under way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OrphanedSegment {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

impl OrphanedSegment {
    /// What other processes than `owner` left in the directory, oldest first. What cannot be looked at is passed over.
    pub(super) fn scan(directory: &Path, owner: Uuid) -> io::Result<Vec<Self>> {
        let owner = owner.to_string();
        let mut found = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            // Not left to the lock alone: on NFS a process does not stand in its own way.
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

    /// Opens it, unless somebody else has it or it is gone. It stays this process's until the reader is dropped.
    pub(crate) fn open(&self) -> io::Result<Option<Reader<File>>> {
        Ok(hold(&self.path)?.map(Reader::new))
    }

    /// The calls that were under way, unless somebody else has the file or it is gone.
    pub(crate) fn open_calls(&self) -> io::Result<Option<OpenCalls>> {
        let Some(file) = hold(&self.path)? else { return Ok(None) };
        let (records, damaged) = calls::read(&file)?;
        Ok(Some(OpenCalls {
            records,
            damaged,
            _lock: file,
        }))
    }

    /// Whether this is of calls under way, which come after all records of the same process.
    pub(crate) fn is_of_calls(&self) -> bool {
        self.path.extension().and_then(OsStr::to_str) == Some(calls::EXTENSION)
    }

    /// Whether records of the same process, other than those `kept`, are still to be filed by somebody.
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

    /// Bytes that were in it when it was sealed and are not any more.
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

/// The locked file; nothing if another process has it, or it does not exist any more.
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
