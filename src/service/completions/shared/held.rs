//! What of a shared call's stream is held for its readers, and for how long.

use bytes::Bytes;

use super::Progress;
use crate::memory::UNCOUNTED;

/// Who is further behind than so many bytes, of an answer that is too long to be remembered, is left behind: what it has
/// not read is not held for it.
const FURTHEST_BEHIND: usize = 4 * 1024 * 1024;

impl Progress {
    pub(super) fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.bytes += bytes.len();
            self.held += bytes.len();
            self.uncounted += uncounted(&bytes);
            self.items.push_back(bytes);
        }
        while self.is_too_long() && self.held > FURTHEST_BEHIND && self.items.len() > 1 {
            self.let_go();
        }
    }

    /// Ends the call if what is held is more than there is room for. Its readers are given what they have not read yet.
    pub(super) fn count(&mut self) {
        let max = FURTHEST_BEHIND.max(self.keeping.max_bytes);
        if let Err(error) = self.room.reserve(self.uncounted, max)
            && self.end.is_none()
        {
            self.fail(error.into());
        }
    }

    /// To be remembered, and so to be joined, or given in another form.
    pub(super) fn is_too_long(&self) -> bool {
        self.bytes > self.keeping.max_bytes
    }

    /// Frees what every reader has had, once it is too much to be remembered.
    pub(super) fn free_before(&mut self, place: usize) {
        while self.is_too_long() && self.dropped < place && !self.items.is_empty() {
            self.let_go();
        }
    }

    fn let_go(&mut self) {
        if let Some(item) = self.items.pop_front() {
            self.dropped += 1;
            self.held -= item.len();
            self.uncounted -= uncounted(&item);
            if self.uncounted <= UNCOUNTED {
                self.room.clear();
            }
        }
    }
}

/// What of an item is still to be counted: a large one is as it comes ([`EventStream`](crate::provider::EventStream)).
fn uncounted(item: &Bytes) -> usize {
    if item.len() > UNCOUNTED { 0 } else { item.len() }
}
