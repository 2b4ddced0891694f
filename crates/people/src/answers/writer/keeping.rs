//! Keeping what is written: now and again, and at the end, whatever the database does.

use std::{sync::Arc, time::Duration};

use super::AnswerWriter;
use crate::answers::spool::Finished;
use domain::ids::MessageId;
use store::StoreError;

const CHECKPOINT_LIMIT: Duration = Duration::from_millis(250);
/// Attempts to store a finished answer before its reader is told that the database is away, and the pause between two.
const SOON: u32 = 5;
/// After which an answer that could not be put aside is lost.
const AT_LAST: u32 = 300;
const PAUSE: Duration = Duration::from_secs(1);

/// Where a finished answer is.
pub(super) enum Kept {
    Stored,
    /// Its conversation is gone.
    Gone,
    /// In a file, until the database takes it.
    Spooled,
    /// In memory only.
    NotYet,
    /// The database will not have it.
    Never(Arc<StoreError>),
}

impl AnswerWriter {
    /// Best effort, and bounded so that a hung database does not freeze the text on the reader's screen: the end of the
    /// answer is what must arrive. False if there is nobody any more to keep it for.
    pub(super) async fn checkpoint(&self) -> bool {
        let now = self.clock.now();
        let kept = self.messages.checkpoint(self.principal.organization, &self.answer, now);
        !matches!(tokio::time::timeout(CHECKPOINT_LIMIT, kept).await, Ok(Ok(false)))
    }

    /// Stores the answer, or puts it aside until the database is back: the reader has seen it already.
    pub(super) async fn keep(&self) -> Kept {
        let kept = self.store(SOON).await;
        if matches!(kept, Kept::NotYet)
            && let Some(spool) = &self.spool
        {
            let finished = Finished::new(
                self.principal.organization,
                &self.answer,
                self.hidden(),
                self.clock.now(),
            );
            if spool.put(finished).await {
                return Kept::Spooled;
            }
        }
        kept
    }

    /// Where nothing could be put aside: as long as an outage may last.
    pub(super) async fn keep_on(&self) {
        if !matches!(self.store(AT_LAST).await, Kept::Stored | Kept::Gone) {
            tracing::error!(target: "mapleai::answers", answer = %self.answer.id.0, "an answer could not be stored, and is lost");
        }
    }

    /// Whichever of the two has no place: the old answer, or a new one that came to nothing.
    fn hidden(&self) -> &[MessageId] {
        match (self.replaces.is_empty(), self.answer.content.is_empty()) {
            (true, _) => &[],
            (false, false) => &self.replaces,
            (false, true) => std::slice::from_ref(&self.answer.id),
        }
    }

    async fn store(&self, attempts: u32) -> Kept {
        for attempt in 1..=attempts {
            let now = self.clock.now();
            let stored = self
                .messages
                .finish_answer(self.principal.organization, &self.answer, self.hidden(), now)
                .await;
            match stored {
                Ok(true) => return Kept::Stored,
                Ok(false) => return Kept::Gone,
                Err(StoreError::Unavailable(_)) => {}
                Err(error) => return Kept::Never(Arc::new(error)),
            }
            if attempt < attempts {
                tokio::time::sleep(PAUSE).await;
            }
        }
        Kept::NotYet
    }
}
