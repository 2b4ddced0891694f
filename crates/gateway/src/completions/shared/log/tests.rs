use super::{FURTHEST_AHEAD, FURTHEST_BEHIND, Log, Readers};
use crate::completions::shared::SharedCall;
use bytes::Bytes;
use concurrency::memory::{Allowance, Budget, Holder};
use llm::{frame::Frame, outbound::of_stored};
use proptest::prelude::*;

const PIECE: usize = 16 * 1024;

fn allowance() -> Allowance {
    Budget::new(64 * 1024 * 1024, std::time::Duration::from_secs(1)).of(Holder::Organization(uuid::Uuid::nil()))
}

/// A frame of [`PIECE`] bytes.
fn piece() -> Frame {
    let comment = format!(": {}\n\n", "x".repeat(PIECE - 4));
    of_stored(Bytes::from(comment)).next().unwrap()
}

#[test]
fn the_leader_waits_for_the_fastest_reader_alone() {
    let mut log = Log::new(1024 * 1024, allowance());
    let (fast, _slow) = (log.readers.add(), log.readers.add());
    for _ in 0..FURTHEST_AHEAD / PIECE {
        log.push(piece()).unwrap();
        assert!(!log.is_far_ahead());
    }
    log.push(piece()).unwrap();
    assert!(log.is_far_ahead());
    log.readers.advance(fast, PIECE);
    assert!(!log.is_far_ahead(), "the slow reader holds nobody up");
    log.push(piece()).unwrap();
    log.readers.await_end(fast);
    assert!(!log.is_far_ahead(), "nor does one that waits for the end");
}

#[test]
fn an_answer_too_long_to_be_stored_is_kept_for_its_slowest_reader_within_bounds() {
    let mut log = Log::new(4 * PIECE, allowance());
    let (fast, slow) = (log.readers.add(), log.readers.add());
    for _ in 0..8 {
        log.push(piece()).unwrap();
        log.readers.advance(fast, PIECE);
    }
    assert_eq!(
        (log.dropped, log.frames.len()),
        (0, 8),
        "the slow reader has read nothing"
    );
    for _ in 0..6 {
        log.readers.advance(slow, PIECE);
    }
    log.push(piece()).unwrap();
    assert_eq!(log.dropped, 6, "what all have read is let go");
    for _ in 0..2 * FURTHEST_BEHIND / PIECE {
        log.push(piece()).unwrap();
    }
    let kept: usize = log.frames.iter().map(|frame| frame.bytes.len()).sum();
    assert!(kept <= FURTHEST_BEHIND && log.dropped > 6, "{kept} bytes are kept");
}

#[test]
fn a_call_without_readers_is_joined_by_nobody() {
    let call = SharedCall::new(1024, allowance());
    let first = call.reader(&mut None, false).unwrap();
    let second = call.reader(&mut None, false).unwrap();
    drop(first);
    assert!(call.may_be_joined());
    drop(second);
    assert!(!call.may_be_joined());
    assert!(call.reader(&mut None, false).is_none());
}

#[test]
fn an_answer_whose_beginning_is_gone_has_no_new_readers() {
    let call = SharedCall::new(2 * PIECE, allowance());
    let first = call.reader(&mut None, false).unwrap();
    for _ in 0..4 {
        let mut log = call.log();
        log.readers.advance(0, PIECE);
        log.push(piece()).unwrap();
    }
    assert!(call.log().dropped > 0);
    assert!(call.reader(&mut None, false).is_none());
    drop(first);
}

proptest! {
    #[test]
    fn slowest_and_fastest_are_known_whoever_comes_reads_and_leaves(steps in prop::collection::vec((0..4_u8, 0..8_usize), 0..200)) {
        let mut readers = Readers::default();
        let mut model: Vec<(u64, usize)> = Vec::new();
        for (step, who) in steps {
            let who = who % model.len().max(1);
            match (step, model.get(who).copied()) {
                (0, _) | (_, None) => model.push((readers.add(), 0)),
                (1, Some((id, _))) => {
                    readers.remove(id);
                    model.remove(who);
                }
                (_, Some((id, read))) => {
                    model[who].1 = read + 1;
                    readers.advance(id, 10);
                }
            }
            let read = || model.iter().map(|(_, read)| *read);
            prop_assert_eq!(readers.is_empty(), model.is_empty());
            prop_assert_eq!(readers.slowest(), read().min().unwrap_or(usize::MAX));
            prop_assert_eq!(readers.fastest(), read().max().map_or(usize::MAX, |read| 10 * read));
        }
    }
}
