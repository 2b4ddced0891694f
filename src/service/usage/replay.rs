//! Taking what processes that died left in the journal to the database.

use std::{collections::BTreeSet, fs::File, io, path::PathBuf, time::Duration};

use metrics::counter;
use tokio_util::sync::CancellationToken;

use super::{
    Usage,
    journal::{Findings, Journal, Leftover, Reader},
};
use crate::{
    domain::usage::UsageRecord,
    store,
    telemetry::metrics::{USAGE_JOURNAL_DAMAGED, USAGE_JOURNAL_REPLAYED},
};

/// After a failure of the database; its own memory of being down makes tries cheap.
const PAUSE: Duration = Duration::from_millis(500);

/// One batch is in memory at a time.
pub struct Replay {
    store: store::usage::Usage,
    journal: Journal,
    batch_size: usize,
    /// What could not be read whole, and stays for whoever can. Not tried twice.
    kept: BTreeSet<PathBuf>,
    failing: bool,
}

/// `None` for records: it was told to stop.
type Taken = io::Result<Option<(u64, Findings)>>;

impl Usage {
    /// Nothing without a journal.
    pub fn replay(&self) -> Option<Replay> {
        Some(Replay {
            store: self.store.clone(),
            journal: self.journal.clone()?,
            batch_size: self.batch_size,
            kept: BTreeSet::new(),
            failing: false,
        })
    }
}

impl Replay {
    /// Takes up all there is now, waiting for the database as long as it takes, or until `stop`.
    pub async fn run(&mut self, stop: &CancellationToken) {
        let journal = self.journal.clone();
        // A folder that is not there has nothing in it; that it is not there is told elsewhere.
        let Ok(leftovers) = blocking(move || journal.leftovers()).await else {
            return;
        };
        self.kept.retain(|path| leftovers.iter().any(|one| one.path == *path));
        for leftover in leftovers {
            if stop.is_cancelled() {
                return;
            }
            if !self.kept.contains(&leftover.path) {
                self.take_up(leftover, stop).await;
            }
        }
    }

    async fn take_up(&mut self, leftover: Leftover, stop: &CancellationToken) {
        let file = leftover.path.display().to_string();
        let opened = leftover.clone();
        let taken = match blocking(move || opened.open()).await {
            Ok(Some(reader)) => self.insert(reader, &leftover, stop).await,
            Ok(None) => return,
            Err(error) => Err(error),
        };
        match taken {
            Ok(Some((records, found))) => {
                counter!(USAGE_JOURNAL_DAMAGED).increment(found.damaged);
                tracing::warn!(
                    target: "mapleai::lifecycle", file, records, damaged = found.damaged, foreign = found.foreign,
                    "usage records of a process that died are in the database"
                );
                if found.foreign > 0 {
                    tracing::error!(target: "mapleai::lifecycle", file, "it stays: another version wrote some of its records");
                    self.kept.insert(leftover.path);
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(target: "mapleai::lifecycle", file, error = %error, "usage records of a process that died cannot be read");
                self.kept.insert(leftover.path);
            }
        }
    }

    /// Inserts all records, and removes the file if that was all of it.
    async fn insert(&mut self, mut reader: Reader<File>, leftover: &Leftover, stop: &CancellationToken) -> Taken {
        let most = self.batch_size;
        let mut records = 0;
        loop {
            let (read, batch) = blocking(move || {
                let batch = reader.batch(most)?;
                Ok((reader, batch))
            })
            .await?;
            reader = read;
            if batch.is_empty() {
                break;
            }
            if !self.confirmed(&batch, stop).await {
                return Ok(None);
            }
            records += batch.len() as u64;
            counter!(USAGE_JOURNAL_REPLAYED).increment(batch.len() as u64);
        }
        let found = reader.findings();
        if found.foreign == 0 {
            let (journal, leftover) = (self.journal.clone(), leftover.clone());
            // The reader holds the file's lock until it is gone.
            blocking(move || {
                let removed = journal.forget(&leftover);
                drop(reader);
                removed
            })
            .await?;
        }
        Ok(Some((records, found)))
    }

    /// Tries until the database has the batch; false if it was told to stop before.
    async fn confirmed(&mut self, batch: &[UsageRecord], stop: &CancellationToken) -> bool {
        while let Err(error) = self.store.insert_missing(batch).await {
            if !self.failing {
                tracing::error!(target: "mapleai::usage", error = %error, "usage records of a process that died cannot be written; they stay in the journal");
                self.failing = true;
            }
            if tokio::time::timeout(PAUSE, stop.cancelled()).await.is_ok() {
                return false;
            }
        }
        self.failing = false;
        true
    }
}

/// Work with the disk, off the runtime's own threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
