//! Inserts the journalled records of dead processes into the database.

use std::{collections::BTreeSet, fs::File, io, path::PathBuf, time::Duration};

use metrics::counter;
use tokio_util::sync::CancellationToken;

use super::{
    Usage,
    journal::{Findings, Journal, OrphanedSegment, Reader},
};
use domain::usage::UsageRecord;
use store::{self, StoreError};
use telemetry::{
    error_chain,
    metrics::{USAGE_JOURNAL_DAMAGED, USAGE_JOURNAL_REPLAYED, USAGE_SET_ASIDE},
};

/// Pause after a database failure; the open breaker makes attempts cheap.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a single record must have been refused for its contents.
pub(super) const REFUSALS_BEFORE_SET_ASIDE: u32 = 3;

/// One batch is in memory at a time.
pub struct Replay {
    store: store::usage::Usage,
    journal: Journal,
    batch_size: usize,
    /// Files that could not be read completely, kept for a newer version. Not tried twice.
    kept: BTreeSet<PathBuf>,
    failing: bool,
}

/// The result of replaying a file.
#[derive(Default)]
struct Taken {
    records: u64,
    calls: u64,
    found: Findings,
    /// Number of bytes that it had when it was sealed.
    missing: u64,
    set_aside: Option<PathBuf>,
}

impl Taken {
    /// Number of places at which records were lost.
    fn damaged(&self) -> u64 {
        self.found.damaged + u64::from(self.found.is_cut_off || self.missing > 0)
    }
}

/// `None`: it was told to stop, or it is for later.
type Taking = io::Result<Option<Taken>>;

impl Usage {
    /// `None` without a journal.
    pub fn replay(&self) -> Option<Replay> {
        // Set at the start, so that the first one is seen as a rise.
        counter!(USAGE_JOURNAL_DAMAGED).increment(0);
        counter!(USAGE_SET_ASIDE).increment(0);
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
    /// Replays all files there are, waiting for the database as long as it takes, or until `stop`.
    pub async fn run(&mut self, stop: &CancellationToken) {
        self.kept.retain(|path| path.exists());
        let (journal, kept) = (self.journal.clone(), self.kept.clone());
        // A missing folder has no files; its absence is reported elsewhere.
        let Ok(orphans) = blocking(move || journal.orphans(&kept)).await else {
            return;
        };
        for orphan in orphans {
            if stop.is_cancelled() {
                return;
            }
            self.take_up(orphan, stop).await;
        }
    }

    async fn take_up(&mut self, orphan: OrphanedSegment, stop: &CancellationToken) {
        let file = orphan.path.display().to_string();
        let taken = if orphan.is_of_calls() {
            self.file_calls(&orphan, stop).await
        } else {
            let opened = orphan.clone();
            match blocking(move || opened.open()).await {
                Ok(Some(reader)) => self.insert(reader, &orphan, stop).await,
                Ok(None) => return,
                Err(error) => Err(error),
            }
        };
        match taken {
            Ok(Some(taken)) => {
                counter!(USAGE_JOURNAL_DAMAGED).increment(taken.damaged());
                tracing::warn!(
                    target: "mapleai::lifecycle", file, records = taken.records, calls_under_way = taken.calls,
                    damaged = taken.found.damaged, cut_off = taken.found.is_cut_off, bytes_missing = taken.missing, foreign = taken.found.foreign,
                    "usage records of a process that died are in the database"
                );
                if let Some(place) = &taken.set_aside {
                    tracing::error!(target: "mapleai::lifecycle", file, set_aside = %place.display(), "some of its records could not be read; it is set aside for you to look at");
                }
                if taken.found.foreign > 0 {
                    tracing::error!(target: "mapleai::lifecycle", file, "it stays: another version wrote some of its records");
                    self.kept.insert(orphan.path);
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(target: "mapleai::lifecycle", file, error = %error_chain(&error), "usage records of a process that died cannot be read");
                self.kept.insert(orphan.path);
            }
        }
    }

    /// Inserts all records, and removes the file if it is complete.
    async fn insert(&mut self, mut reader: Reader<File>, orphan: &OrphanedSegment, stop: &CancellationToken) -> Taking {
        let max = self.batch_size;
        let mut records = 0;
        loop {
            let (read, batch) = blocking(move || {
                let batch = reader.batch(max)?;
                Ok((reader, batch))
            })
            .await?;
            reader = read;
            if batch.is_empty() {
                break;
            }
            if !self.file(&batch, stop).await? {
                return Ok(None);
            }
            records += batch.len() as u64;
            counter!(USAGE_JOURNAL_REPLAYED).increment(batch.len() as u64);
        }
        let mut taken = Taken {
            records,
            found: reader.findings(),
            missing: orphan.missing(),
            ..Taken::default()
        };
        if taken.found.foreign == 0 {
            let (journal, orphan, is_whole) = (self.journal.clone(), orphan.clone(), taken.damaged() == 0);
            // The reader holds the file's lock until it is dropped.
            taken.set_aside = blocking(move || {
                let done = if is_whole {
                    journal.forget(&orphan).map(|()| None)
                } else {
                    journal.set_aside(&orphan).map(Some)
                };
                drop(reader);
                done
            })
            .await?;
        }
        Ok(Some(taken))
    }

    /// Files the calls that were in flight and have no record, after all records of the same process.
    async fn file_calls(&mut self, orphan: &OrphanedSegment, stop: &CancellationToken) -> Taking {
        let (looked, kept) = (orphan.clone(), self.kept.clone());
        let found = blocking(move || {
            if looked.has_records_before(&kept)? {
                return Ok(None);
            }
            looked.open_calls()
        });
        let Some(calls) = found.await? else { return Ok(None) };
        for batch in calls.records.chunks(self.batch_size) {
            if !self.file(batch, stop).await? {
                return Ok(None);
            }
        }
        let mut taken = Taken {
            calls: calls.records.len() as u64,
            ..Taken::default()
        };
        taken.found.damaged = calls.damaged;
        let (journal, orphan) = (self.journal.clone(), orphan.clone());
        taken.set_aside = blocking(move || {
            let done = if calls.damaged == 0 {
                journal.forget(&orphan).map(|()| None)
            } else {
                journal.set_aside(&orphan).map(Some)
            };
            drop(calls);
            done
        })
        .await?;
        Ok(Some(taken))
    }

    /// Tries until the database has the whole batch except refused records, which are set aside; false if `stop` came
    /// first.
    async fn file(&mut self, batch: &[UsageRecord], stop: &CancellationToken) -> io::Result<bool> {
        let mut pieces = vec![batch];
        let mut refusals = 0;
        while let Some(piece) = pieces.last().copied() {
            let Err(error) = self.store.insert(piece).await else {
                self.failing = false;
                refusals = 0;
                pieces.pop();
                continue;
            };
            if error.is_about_rows() && piece.len() > 1 {
                let (first, second) = piece.split_at(piece.len() / 2);
                pieces.pop();
                pieces.extend([second, first]);
                continue;
            }
            if !self.failing {
                tracing::error!(target: "mapleai::usage", error = %error_chain(&error), "usage records of a process that died cannot be written; they stay in the journal");
                self.failing = true;
            }
            refusals += u32::from(error.is_about_rows());
            if refusals >= REFUSALS_BEFORE_SET_ASIDE {
                set_aside(&self.journal, &piece[0], &error).await?;
                pieces.pop();
                refusals = 0;
                continue;
            }
            if tokio::time::timeout(PAUSE, stop.cancelled()).await.is_ok() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Sets aside a record that the database keeps refusing, so that the rest goes on.
pub(super) async fn set_aside(journal: &Journal, record: &UsageRecord, error: &StoreError) -> io::Result<()> {
    let (keeping, kept) = (journal.clone(), record.clone());
    let place = blocking(move || keeping.set_record_aside(&kept)).await?;
    counter!(USAGE_SET_ASIDE).increment(1);
    tracing::error!(
        target: "mapleai::usage", error = %error_chain(error), record_id = %record.id.0, organization_id = %record.organization,
        set_aside = %place.display(), "the database refuses a usage record; it is set aside for you to look at"
    );
    Ok(())
}

/// Runs disk work off the runtime's own threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
