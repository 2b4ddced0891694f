//! Bytes of a stream that gather while more is awaited.

use bytes::Bytes;

use super::{Allowance, Exhausted, Reservation};

/// Up to this many bytes a stream holds uncounted: its events have some hundred, and what it holds is bounded by the places in
/// flight then.
pub const UNCOUNTED: usize = 64 * 1024;

/// What one stream holds. Until that is more than [`UNCOUNTED`], it costs a comparison.
#[derive(Default)]
pub struct Gathering {
    /// Without one nothing is counted.
    allowance: Option<Allowance>,
    held: Option<Reservation>,
}

impl Gathering {
    pub fn new(allowance: Option<Allowance>) -> Self {
        Self { allowance, held: None }
    }

    /// Counts `bytes` in all, before they are held: twice as many as long as that is no more than `max`, so that it is seldom grown. A
    /// stream does not wait for room: those that grow at once might wait for each other for ever.
    #[inline]
    pub fn reach(&mut self, bytes: usize, max: usize) -> Result<(), Exhausted> {
        if bytes <= UNCOUNTED || bytes <= self.counted() {
            return Ok(());
        }
        self.grow(bytes, max)
    }

    #[cold]
    fn grow(&mut self, bytes: usize, max: usize) -> Result<(), Exhausted> {
        let Some(allowance) = &self.allowance else {
            return Ok(());
        };
        let held = self.held.get_or_insert_with(|| allowance.reserve());
        held.grow_at_once(bytes.max((bytes * 2).min(max)))
    }

    /// How many bytes there is room for, if they are counted.
    pub fn counted(&self) -> usize {
        self.held.as_ref().map_or(0, Reservation::bytes)
    }

    /// Hands over what was gathered, counted for as long as anybody holds it. What is gathered next is counted anew.
    pub fn pass(&mut self, bytes: Bytes) -> Bytes {
        match self.held.take() {
            Some(held) => held.hold(bytes),
            None => bytes,
        }
    }

    /// Gives back all of it.
    pub fn clear(&mut self) {
        self.held = None;
    }
}
