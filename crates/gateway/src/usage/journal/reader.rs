//! Reads a segment that another process wrote and may not have finished.

use std::io::{self, Read};

use super::codec::{Frame, MARK, MAX_FRAME_BYTES, frame};
use domain::usage::UsageRecord;

const CHUNK: usize = 64 * 1024;

/// What was found besides records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Number of damaged ranges, each of one record or more.
    pub(crate) damaged: u64,
    /// It ends within a record, after a kill during a write or a truncation of the file.
    pub(crate) is_cut_off: bool,
    /// Records that only another version understands.
    pub(crate) foreign: u64,
}

/// Returns the records of a segment in order, skipping damaged ranges. Needs some 128 KiB, however large the file is.
pub(crate) struct Reader<R> {
    source: R,
    buffer: Vec<u8>,
    at: usize,
    ended: bool,
    found: Findings,
    skipping: Skipping,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Skipping {
    No,
    /// Over bytes that make no frame.
    Damage,
    /// Over a frame that was cut off, unless a record comes behind it: then its length was damaged.
    Tail,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            buffer: Vec::new(),
            at: 0,
            ended: false,
            found: Findings::default(),
            skipping: Skipping::No,
        }
    }

    /// The findings so far.
    pub(crate) fn findings(&self) -> Findings {
        self.found
    }

    /// The next `max` records, fewer only at the end. Records read before an error are not returned again.
    pub(crate) fn batch(&mut self, max: usize) -> io::Result<Vec<UsageRecord>> {
        let mut batch = Vec::new();
        while batch.len() < max {
            match self.next()? {
                Some(record) => batch.push(record),
                None => break,
            }
        }
        Ok(batch)
    }

    fn next(&mut self) -> io::Result<Option<UsageRecord>> {
        loop {
            match frame(&self.buffer[self.at..]) {
                Frame::Record(record, taken) => {
                    self.intact(taken);
                    return Ok(Some(*record));
                }
                Frame::Foreign(taken) => {
                    self.intact(taken);
                    self.found.foreign += 1;
                }
                Frame::Partial if !self.ended => self.fill()?,
                Frame::Partial if self.at == self.buffer.len() => {
                    self.found.is_cut_off = self.skipping == Skipping::Tail;
                    return Ok(None);
                }
                Frame::Partial => {
                    if self.skipping == Skipping::No {
                        self.skipping = Skipping::Tail;
                    }
                    self.skip();
                }
                Frame::Damaged => {
                    if self.skipping == Skipping::No {
                        self.skipping = Skipping::Damage;
                        self.found.damaged += 1;
                    }
                    self.skip();
                }
            }
        }
    }

    fn intact(&mut self, taken: usize) {
        self.at += taken;
        if self.skipping == Skipping::Tail {
            self.found.damaged += 1;
        }
        self.skipping = Skipping::No;
    }

    /// To the next place where a frame could start.
    fn skip(&mut self) {
        let rest = &self.buffer[self.at + 1..];
        self.at += 1 + memchr::memchr(MARK[0], rest).unwrap_or(rest.len());
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.at);
        self.at = 0;
        debug_assert!(self.buffer.len() <= MAX_FRAME_BYTES, "a frame this long would be whole");
        let read = self.source.by_ref().take(CHUNK as u64).read_to_end(&mut self.buffer)?;
        self.ended = read == 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::codec::tests::{any_record, encoded},
        Findings, Reader,
    };
    use domain::usage::UsageRecord;
    use proptest::{prelude::*, strategy::ValueTree as _};

    fn read(bytes: &[u8]) -> (Vec<UsageRecord>, Findings) {
        let mut reader = Reader::new(bytes);
        let mut records = Vec::new();
        loop {
            let batch = reader.batch(3).unwrap();
            if batch.is_empty() {
                return (records, reader.findings());
            }
            records.extend(batch);
        }
    }

    fn several() -> impl Strategy<Value = Vec<UsageRecord>> {
        prop::collection::vec(any_record(), 1..12)
    }

    proptest! {
        #[test]
        fn all_records_in_their_order(records in several()) {
            let bytes: Vec<u8> = records.iter().flat_map(encoded).collect();
            prop_assert_eq!(read(&bytes), (records, Findings::default()));
        }

        #[test]
        fn a_torn_tail_costs_the_last_record_only(records in several(), cut in any::<prop::sample::Index>()) {
            let mut bytes: Vec<u8> = records.iter().flat_map(encoded).collect();
            let last = encoded(records.last().unwrap()).len();
            bytes.truncate(bytes.len() - 1 - cut.index(last - 1));
            let (read, found) = read(&bytes);
            prop_assert_eq!(read, &records[..records.len() - 1]);
            prop_assert_eq!(found, Findings { is_cut_off: true, ..Findings::default() });
        }

        #[test]
        fn a_flipped_bit_costs_its_record_only(records in several(), which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let which = which.index(records.len());
            let mut frames: Vec<Vec<u8>> = records.iter().map(encoded).collect();
            let at = at.index(frames[which].len());
            frames[which][at] ^= 1 << bit;
            let (read, found) = read(&frames.concat());
            let mut rest = records.clone();
            rest.remove(which);
            prop_assert_eq!(read, rest);
            // In the last record a corrupted, larger length looks like a torn record.
            prop_assert!(found.damaged == 1 || (found.is_cut_off && which + 1 == records.len()), "{:?}", found);
        }

        #[test]
        fn noise_between_records_is_passed_over(records in several(), noise in prop::collection::vec(any::<u8>(), 1..300)) {
            let mut bytes = encoded(&records[0]);
            bytes.extend(&noise);
            for record in &records[1..] {
                bytes.extend(encoded(record));
            }
            prop_assert_eq!(read(&bytes).0, records);
        }
    }

    #[test]
    fn longer_than_a_chunk_and_zeros_at_the_end() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let record = any_record().new_tree(&mut runner).unwrap().current();
        let mut bytes = encoded(&record).repeat(2_000);
        // Zeros are what a file system may leave of the last blocks when power fails.
        bytes.extend([0; 4096]);
        let (read, found) = read(&bytes);
        assert_eq!((read.len(), found.damaged), (2_000, 1));
        assert!(read.iter().all(|one| *one == record));
    }
}
