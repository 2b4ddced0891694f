//! Finished answers that the database did not take: each a sealed file beside the usage journal, until the database has it. A
//! managed failover takes a minute or two, and a reader has seen the answer by then.
//!
//! Bounded in files and bytes. What another process left there is taken up by whoever finds it: storing an answer twice does
//! no more than storing it once.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crypto::seal::{Sealer, Unsealed};
use domain::{
    conversation::{Author, Ending, Message, MessageStatus},
    ids::{MessageId, OrganizationId},
};

const MAX_FILES: usize = 1_000;
const MAX_BYTES: u64 = 256 * 1024 * 1024;
const EXTENSION: &str = "answer";
/// Cannot be read, or is not taken: for a person to look at.
const SET_ASIDE: &str = "damaged";

/// A cheap clone.
#[derive(Clone)]
pub struct Spool(Arc<SpoolInner>);

struct SpoolInner {
    directory: PathBuf,
    sealer: Sealer,
}

/// All that is needed to store an answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Finished {
    pub(super) organization: Uuid,
    id: Uuid,
    content: String,
    thoughts: Option<String>,
    status: String,
    reason: Option<String>,
    detail: Option<String>,
    retry_after: Option<u32>,
    hidden: Vec<Uuid>,
    pub(super) at: DateTime<Utc>,
}

impl Finished {
    pub(super) fn new(organization: OrganizationId, answer: &Message, hidden: &[MessageId], at: DateTime<Utc>) -> Self {
        let ending = answer.ending.as_ref();
        Self {
            organization: organization.0,
            id: answer.id.0,
            content: answer.content.clone(),
            thoughts: answer.thoughts.clone(),
            status: answer.status.as_str().to_owned(),
            reason: ending.map(|ending| ending.reason.to_string()),
            detail: ending.map(|ending| ending.detail.to_string()),
            retry_after: ending.and_then(|ending| ending.retry_after),
            hidden: hidden.iter().map(|message| message.0).collect(),
            at,
        }
    }

    pub(super) fn hidden(&self) -> Vec<MessageId> {
        self.hidden.iter().copied().map(MessageId).collect()
    }

    /// The message, as far as storing its end needs it.
    pub(super) fn message(&self) -> Message {
        let status = match self.status.as_str() {
            "complete" => MessageStatus::Complete,
            "partial" => MessageStatus::Partial,
            _ => MessageStatus::Failed,
        };
        Message {
            id: MessageId(self.id),
            author: Author::Assistant,
            content: self.content.clone(),
            thoughts: self.thoughts.clone(),
            model: None,
            status,
            ending: self.reason.clone().map(|reason| Ending {
                reason: reason.into(),
                detail: self.detail.clone().unwrap_or_default().into(),
                retry_after: self.retry_after,
            }),
            created_at: self.at,
        }
    }
}

impl Spool {
    /// In a folder of its own below the journal's, made when something is put there.
    pub fn new(journal: &Path, sealer: Sealer) -> Self {
        Self(Arc::new(SpoolInner {
            directory: journal.join("answers"),
            sealer,
        }))
    }

    /// False where there is no room, or the disk does not take it.
    pub(super) async fn put(&self, finished: Finished) -> bool {
        let (this, id) = (Arc::clone(&self.0), finished.id);
        let putting = tokio::task::spawn_blocking(move || this.put(&finished));
        match putting.await {
            Ok(Ok(())) => {
                tracing::warn!(target: "mapleai::answers", answer = %id, "the database is away; an answer is kept in a file until it is back");
                true
            }
            Ok(Err(error)) => {
                tracing::error!(target: "mapleai::answers", answer = %id, %error, "an answer could not be kept in a file");
                false
            }
            Err(_) => false,
        }
    }

    /// The files there are.
    pub(super) async fn list(&self) -> Vec<PathBuf> {
        let this = Arc::clone(&self.0);
        let listing = tokio::task::spawn_blocking(move || this.files().unwrap_or_default());
        listing.await.unwrap_or_default()
    }

    /// Reads one. Nothing if it is gone; one that cannot be read is set aside.
    pub(super) async fn read(&self, path: PathBuf) -> Option<Finished> {
        let this = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || match this.read(&path) {
            Ok(finished) => Some(finished),
            Err(Fault::Io(error)) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                set_aside(&path, &error);
                None
            }
        })
        .await
        .ok()?
    }

    /// Removes one that is stored, or sets aside one that the database will not have.
    pub(super) async fn done(&self, path: PathBuf, refused: Option<store::StoreError>) {
        let removing = tokio::task::spawn_blocking(move || match refused {
            None => drop(fs::remove_file(&path)),
            Some(error) => set_aside(&path, &error),
        });
        let _ = removing.await;
    }
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the folder has as many answers as it may")]
    Full,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Seal(#[from] Unsealed),
    #[error("nothing to seal with")]
    NoKey,
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

impl SpoolInner {
    fn put(&self, finished: &Finished) -> Result<(), Fault> {
        fs::create_dir_all(&self.directory)?;
        let files = self.files()?;
        let bytes: u64 = files
            .iter()
            .filter_map(|path| Some(fs::metadata(path).ok()?.len()))
            .sum();
        if files.len() >= MAX_FILES || bytes >= MAX_BYTES {
            return Err(Fault::Full);
        }
        let path = self.directory.join(format!("{}.{EXTENSION}", finished.id));
        let mut sealed = Vec::new();
        self.sealer
            .seal(place(&path), serde_json::to_vec(finished)?, &mut sealed)
            .ok_or(Fault::NoKey)?;
        let unfinished = path.with_extension("new");
        let mut file = fs::File::create(&unfinished)?;
        file.write_all(&sealed)?;
        file.sync_all()?;
        Ok(fs::rename(&unfinished, &path)?)
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    fn read(&self, path: &Path) -> Result<Finished, Fault> {
        let sealed = fs::read(path)?;
        Ok(serde_json::from_slice(&self.sealer.open(place(path), &sealed)?)?)
    }
}

/// What a file is sealed for: its name.
fn place(path: &Path) -> &[u8] {
    path.file_name().map_or(&[], |name| name.as_encoded_bytes())
}

fn set_aside(path: &Path, error: &dyn std::error::Error) {
    tracing::error!(target: "mapleai::answers", path = %path.display(), %error, "an answer that was kept in a file cannot be stored, and is set aside");
    let _ = fs::rename(path, path.with_extension(SET_ASIDE));
}

#[cfg(test)]
mod tests;
