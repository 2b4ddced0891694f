//! Which events of a shared call are retained for its readers, and for how long.

use bytes::Bytes;

use super::Progress;
use concurrency::memory::UNCOUNTED;

/// If an answer is too long to be stored, readers that lag further behind than this many bytes lose the events they have not
/// read.
const FURTHEST_BEHIND: usize = 4 * 1024 * 1024;

impl Progress {
    pub(super) fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.bytes += bytes.len();
            self.retained += bytes.len();
            self.uncounted += uncounted(&bytes);
            self.items.push_back(bytes);
        }
        while self.is_too_long() && self.retained > FURTHEST_BEHIND && self.items.len() > 1 {
            self.let_go();
        }
    }

    /// Ends the call if the budget has no room for the retained bytes. Its readers still get the events they have not read.
    pub(super) fn count(&mut self) {
        let max = FURTHEST_BEHIND.max(self.store_policy.max_bytes);
        if let Err(error) = self.room.reserve(self.uncounted, max)
            && self.end.is_none()
        {
            self.fail(error.into());
        }
    }

    /// Whether the answer is too long to be stored, and so to be joined or converted.
    pub(super) fn is_too_long(&self) -> bool {
        self.bytes > self.store_policy.max_bytes
    }

    /// Frees events that every reader has read, once the answer is too long to be stored.
    pub(super) fn free_before(&mut self, position: usize) {
        while self.is_too_long() && self.dropped < position && !self.items.is_empty() {
            self.let_go();
        }
    }

    fn let_go(&mut self) {
        if let Some(item) = self.items.pop_front() {
            self.dropped += 1;
            self.retained -= item.len();
            self.uncounted -= uncounted(&item);
            if self.uncounted <= UNCOUNTED {
                self.room.clear();
            }
        }
    }
}

/// The bytes of an item to be counted here: large items are counted already ([`EventStream`](provider::EventStream)).
fn uncounted(item: &Bytes) -> usize {
    if item.len() > UNCOUNTED { 0 } else { item.len() }
}
