//! The file of calls in flight.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::{EXTENSION, SHARDS, SlotId};
use crate::usage::journal::codec::{self, Frame};
use domain::usage::UsageRecord;

const SLOT: usize = 512;
const WIPED: [u8; 8] = [0; 8];
/// More than any process has in flight: a larger file is no file of ours.
const MAX_SLOTS: u64 = 1 << 20;

/// Made with the first mark.
#[derive(Default)]
pub(in crate::usage::journal) struct CallsFile(Option<(PathBuf, File)>);

impl CallsFile {
    pub(in crate::usage::journal) fn mark(
        &mut self,
        directory: &Path,
        owner: Uuid,
        due: Vec<(SlotId, UsageRecord)>,
    ) -> io::Result<()> {
        let mut frame = Vec::with_capacity(SLOT);
        for (id, record) in due {
            frame.clear();
            // No catalogue has names of that length.
            if codec::encode(&record, &mut frame).is_err() || frame.len() > SLOT {
                continue;
            }
            let (_, file) = match &mut self.0 {
                Some(file) => file,
                none => none.insert(create(directory, owner)?),
            };
            file.write_all_at(&frame, offset(id))?;
        }
        Ok(())
    }

    pub(in crate::usage::journal) fn wipe(&self, finished: &[SlotId]) -> io::Result<()> {
        let Some((_, file)) = &self.0 else { return Ok(()) };
        let wiped = finished.iter().map(|id| file.write_all_at(&WIPED, offset(*id)));
        wiped.fold(Ok(()), io::Result::and)
    }

    /// Removes it if no call is in flight: the next start files those.
    pub(in crate::usage::journal) fn close(&mut self, is_idle: bool) -> io::Result<()> {
        match self.0.take() {
            Some((path, _)) if is_idle => fs::remove_file(path),
            Some((_, file)) => file.sync_all(),
            None => Ok(()),
        }
    }
}

fn offset(id: SlotId) -> u64 {
    ((id.index * SHARDS + id.shard) * SLOT) as u64
}

fn create(directory: &Path, owner: Uuid) -> io::Result<(PathBuf, File)> {
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

/// The calls that a process had in flight when it died, and how many slots could not be read.
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
