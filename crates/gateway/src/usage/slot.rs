//! What a call holds of the metering from its start to its record.

use tokio::sync::mpsc;

use super::{
    Queued,
    journal::{Journal, LiveCall, Opened},
};
use domain::{ids::UsageRecordId, usage::UsageRecord};

/// A place in the queue, taken before the call is made, so that its record cannot be lost to a full queue.
pub struct UsageSlot {
    permit: mpsc::OwnedPermit<Queued>,
    journal: Option<Journal>,
    call: Option<LiveCall>,
}

impl UsageSlot {
    pub(super) fn new(permit: mpsc::OwnedPermit<Queued>, journal: Option<Journal>) -> Self {
        Self {
            permit,
            journal,
            call: None,
        }
    }

    /// What the call delivers from now on is charged if the process is killed meanwhile. `opened` is asked only where there is a
    /// journal.
    pub fn open(&mut self, opened: impl FnOnce() -> Opened) {
        if let Some(journal) = &self.journal {
            self.call = Some(journal.begin(opened()));
        }
    }

    /// So much more text of the answer has come.
    pub fn note_text(&self, bytes: usize) {
        if let Some(call) = &self.call {
            call.note_text(bytes);
        }
    }

    /// The id of its record, if that has been given to it already.
    pub fn id(&self) -> Option<UsageRecordId> {
        self.call.as_ref().map(LiveCall::id)
    }

    /// What is written to a client after this is written after the record has come into the journal: see [`PreWriteHook`].
    ///
    /// [`PreWriteHook`]: concurrency::write_coalescing::PreWriteHook
    pub fn send(self, record: UsageRecord) {
        let entry = self.journal.as_ref().and_then(|journal| journal.append(&record));
        self.permit.send(Queued { record, entry });
    }
}
