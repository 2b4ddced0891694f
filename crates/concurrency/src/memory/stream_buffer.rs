//! Counts the bytes that a stream buffers.

use bytes::Bytes;

use super::{Allowance, Exhausted, Reservation};

/// A stream may buffer this many bytes uncounted: an event has a few hundred, and the number of streams is bounded.
pub const UNCOUNTED: usize = 64 * 1024;

/// The buffered bytes of one stream. Up to [`UNCOUNTED`] it costs a comparison.
#[derive(Default)]
pub struct StreamReservation {
    /// `None` counts nothing.
    allowance: Option<Allowance>,
    reservation: Option<Reservation>,
}

impl StreamReservation {
    pub fn new(allowance: Option<Allowance>) -> Self {
        Self {
            allowance,
            reservation: None,
        }
    }

    /// Reserves `bytes` in total before they are buffered: twice as many, up to `max`, so that it seldom grows. Never waits: two
    /// growing streams could wait for each other for ever.
    #[inline]
    pub fn reserve(&mut self, bytes: usize, max: usize) -> Result<(), Exhausted> {
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
        let reservation = self.reservation.get_or_insert_with(|| allowance.reserve());
        reservation.grow_at_once(bytes.max((bytes * 2).min(max)))
    }

    /// Number of reserved bytes; 0 if they are not counted.
    pub fn counted(&self) -> usize {
        self.reservation.as_ref().map_or(0, Reservation::bytes)
    }

    /// Hands over the buffered bytes, which stay counted until they are dropped. Later bytes are counted anew.
    pub fn pass(&mut self, bytes: Bytes) -> Bytes {
        match self.reservation.take() {
            Some(reservation) => reservation.hold(bytes),
            None => bytes,
        }
    }

    /// Releases the reservation.
    pub fn clear(&mut self) {
        self.reservation = None;
    }
}
