mod calls;
mod commit;
mod faults;
mod orphans;
mod stalled;

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use tempfile::{TempDir, tempdir};

use super::{Journal, SegmentId, codec::tests::any_record};
use domain::usage::UsageRecord;

const LIMIT: u64 = 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(10);

fn records(count: usize) -> Vec<UsageRecord> {
    let mut runner = TestRunner::deterministic();
    let several = prop::collection::vec(any_record(), count);
    several.new_tree(&mut runner).unwrap().current()
}

/// A journal that has opened its first segment, and its folder.
fn journal() -> (Journal, TempDir) {
    let folder = tempdir().unwrap();
    let journal = Journal::new(folder.path(), LIMIT);
    journal.maintain();
    (journal, folder)
}

/// A record whose answer is written to a client at once.
fn keep(journal: &Journal, record: &UsageRecord) -> Option<SegmentId> {
    let segment = journal.append(record);
    journal.settle(TIMEOUT);
    segment.filter(|_| is_up(journal))
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

/// All that another process finds.
fn left_over(folder: &Path) -> Vec<UsageRecord> {
    let other = Journal::new(folder, LIMIT);
    let mut found = Vec::new();
    for orphan in other.orphans(&BTreeSet::new()).unwrap() {
        let mut reader = orphan.open().unwrap().unwrap();
        found.extend(reader.batch(1_000_000).unwrap());
        assert_eq!((reader.findings().damaged, reader.findings().foreign), (0, 0));
    }
    found
}

fn retry_now(journal: &Journal) {
    journal.state().retry_at = None;
    journal.maintain();
}

fn is_up(journal: &Journal) -> bool {
    journal.state().fault.is_none()
}

#[test]
fn a_segment_goes_once_the_database_has_all_of_it() {
    let (journal, folder) = journal();
    let records = records(3);
    let places: Vec<_> = records.iter().map(|record| keep(&journal, record).unwrap()).collect();
    journal.maintain();
    assert_eq!(files(folder.path()), 2, "one sealed, one open");
    journal.confirm(places[0], 2);
    journal.maintain();
    assert_eq!(files(folder.path()), 2, "one record is still missing");
    // Behind a segment that waits, the open one goes on.
    let later = keep(&journal, &records[0]).unwrap();
    journal.maintain();
    assert_eq!(files(folder.path()), 2);
    journal.confirm(places[2], 1);
    journal.maintain();
    assert_eq!(files(folder.path()), 1);
    assert!(!journal.is_idle());
    journal.confirm(later, 1);
    journal.maintain();
    journal.maintain();
    assert!(journal.is_idle());
    assert_eq!(journal.close(), 0);
    assert_eq!(files(folder.path()), 0);
}

#[test]
fn what_was_not_confirmed_is_found_by_the_next_process_and_only_once_the_first_is_gone() {
    let (journal, folder) = journal();
    let records = records(40);
    for (index, record) in records.iter().enumerate() {
        assert!(keep(&journal, record).is_some());
        if index % 10 == 0 {
            journal.maintain();
        }
    }
    assert!(left_over(folder.path()).is_empty(), "its owner lives");
    drop(journal);
    assert_eq!(left_over(folder.path()), records);

    let next = Journal::new(folder.path(), LIMIT);
    for orphan in next.orphans(&BTreeSet::new()).unwrap() {
        next.forget(&orphan).unwrap();
    }
    assert!(left_over(folder.path()).is_empty());
    assert_eq!((next.state().bytes(), files(folder.path())), (0, 0));
}

#[test]
fn closing_keeps_what_the_database_does_not_have() {
    let (journal, folder) = journal();
    let records = records(5);
    let places: Vec<_> = records.iter().map(|record| keep(&journal, record).unwrap()).collect();
    journal.confirm(places[4], 3);
    assert_eq!(journal.close(), 2);
    assert_eq!(left_over(folder.path()), records);
    assert!(keep(&journal, &records[0]).is_none());
    journal.maintain();
    assert_eq!(files(folder.path()), 1, "closed is closed");
}

#[test]
fn unconfirmed_records_are_synced_within_two_rounds() {
    let (journal, _folder) = journal();
    let records = records(2);
    let unsynced = |journal: &Journal| {
        let state = journal.state();
        let segments = state.sealed.iter().chain(&state.open);
        segments.map(|one| one.bytes - one.synced).sum::<u64>()
    };
    for record in &records {
        keep(&journal, record).unwrap();
        journal.maintain();
        assert!(unsynced(&journal) > 0 || journal.state().sealed.len() == 1);
        journal.maintain();
        assert_eq!(unsynced(&journal), 0);
    }
}

#[test]
fn strangers_and_the_unfinished_are_left_alone() {
    let (journal, folder) = journal();
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    fs::write(folder.path().join("0-1.new"), "").unwrap();
    fs::write(folder.path().join("0-2.usage"), "").unwrap();
    assert_eq!(journal.orphans(&BTreeSet::new()).unwrap(), []);
    let mut left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with("-000000000000.usage"))
        .collect();
    left.sort();
    assert_eq!(left, ["0-1.new", "notes.txt"]);
}
