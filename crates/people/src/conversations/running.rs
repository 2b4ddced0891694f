//! Which conversations an answer is being written in by this process, so that deleting one ends its answer at once. Other
//! processes find out at their next checkpoint.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use domain::ids::ConversationId;

/// Bounded by the answers that are being written. Its lock is taken when an answer begins and ends, never for what it says.
#[derive(Clone, Default)]
pub(crate) struct Running(Arc<Mutex<HashMap<ConversationId, Writing>>>);

#[derive(Default)]
struct Writing {
    deleted: CancellationToken,
    /// Answers; more than one only where an abandoned one has not noticed.
    answers: usize,
}

impl Running {
    /// Notes an answer, until what is given is dropped.
    pub(crate) fn begin_answer(&self, conversation: ConversationId) -> RunningAnswer {
        let mut map = self.map();
        let writing = map.entry(conversation).or_default();
        writing.answers += 1;
        RunningAnswer {
            running: self.clone(),
            conversation,
            deleted: writing.deleted.clone(),
        }
    }

    /// Ends the answers in a conversation that is gone.
    pub(super) fn end(&self, conversation: ConversationId) {
        if let Some(writing) = self.map().get(&conversation) {
            writing.deleted.cancel();
        }
    }

    fn map(&self) -> MutexGuard<'_, HashMap<ConversationId, Writing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct RunningAnswer {
    running: Running,
    conversation: ConversationId,
    deleted: CancellationToken,
}

impl RunningAnswer {
    /// Waits until the conversation is deleted.
    pub(crate) async fn deleted(&self) {
        self.deleted.cancelled().await;
    }
}

impl Drop for RunningAnswer {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.running.map().entry(self.conversation) {
            entry.get_mut().answers -= 1;
            if entry.get().answers == 0 {
                entry.remove();
            }
        }
    }
}
