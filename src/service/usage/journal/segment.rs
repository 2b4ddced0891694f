//! One file of the journal.
//!
//! Who writes a segment holds its lock, which the kernel gives back when the process dies. A segment that nobody holds is
//! left over. So processes may share a directory, and each takes up what a dead one left, but nothing of a living one.

use std::{
    ffi::OsStr,
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use uuid::Uuid;

use super::reader::Reader;

const EXTENSION: &str = "usage";
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

    /// Appends frames with one system call. On failure nothing of them stays, if the disk still lets it be cut off; a
    /// reader would pass over the piece.
    pub(super) fn append(&mut self, frames: &[u8]) -> io::Result<()> {
        if let Err(error) = (&*self.file).write_all(frames) {
            let _ = self.file.set_len(self.bytes);
            return Err(error);
        }
        self.bytes += frames.len() as u64;
        Ok(())
    }

    /// Takes the file away. The lock goes with the handle, after it.
    pub(super) fn remove(self) -> io::Result<()> {
        remove(&self.path)
    }
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

/// A segment of a process that died.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Leftover {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

impl Leftover {
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
            if own || !matches!(extension, Some(EXTENSION | UNFINISHED)) {
                continue;
            }
            let Ok(Some(file)) = hold(&path) else { continue };
            let bytes = file.metadata().map_or(0, |metadata| metadata.len());
            if extension == Some(EXTENSION) && bytes > 0 {
                found.push(Self { path, bytes });
            } else if extension == Some(EXTENSION) || is_old(&file) {
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
