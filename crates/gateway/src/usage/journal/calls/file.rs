//! The file of calls under way.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use super::{EXTENSION, SHARDS};
use crate::usage::journal::codec::{self, Frame};
use domain::usage::UsageRecord;

pub(super) const SLOT: usize = 512;
pub(super) const WIPED: [u8; 8] = [0; 8];
/// More than any process has under way: a larger file is no file of ours.
const MAX_SLOTS: u64 = 1 << 20;

pub(super) fn offset(shard: usize, index: usize) -> u64 {
    ((index * SHARDS + shard) * SLOT) as u64
}

pub(super) fn create(directory: &Path, owner: uuid::Uuid) -> io::Result<(PathBuf, File)> {
    let path = directory.join(format!("{owner}.{EXTENSION}"));
    // Under its own name once it is locked, as a segment is.
    let unfinished = path.with_extension("new");
    let file = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&unfinished)?;
    file.try_lock()?;
    fs::rename(&unfinished, &path)?;
    Ok((path, file))
}

/// The calls that a process had under way when it died, and how many slots could not be read.
pub(in crate::usage::journal) fn read(file: &File) -> io::Result<(Vec<UsageRecord>, u64)> {
    let slots = file.metadata()?.len().div_ceil(SLOT as u64);
    if slots > MAX_SLOTS {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let (mut found, mut damaged) = (Vec::new(), 0);
    let mut slot = [0; SLOT];
    for number in 0..slots {
        let read = file.read_at(&mut slot, number * SLOT as u64)?;
        let slot = &slot[..read];
        if slot.iter().take(WIPED.len()).all(|byte| *byte == 0) {
            continue;
        }
        match codec::frame(slot) {
            Frame::Record(record, _) => found.push(*record),
            Frame::Foreign(_) | Frame::Partial | Frame::Damaged => damaged += 1,
        }
    }
    Ok((found, damaged))
}
