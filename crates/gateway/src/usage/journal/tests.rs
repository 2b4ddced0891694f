mod calls;
mod commit;
mod faults;
mod orphans;
mod stalled;

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use tempfile::{TempDir, tempdir};

use super::{EntryNumber, Journal, codec::tests::any_record, writer::Writer};
use domain::usage::UsageRecord;

const LIMIT: u64 = 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(10);
/// No round of maintenance comes by itself.
const NEVER: Duration = Duration::from_hours(1);

fn records(count: usize) -> Vec<UsageRecord> {
    let mut runner = TestRunner::deterministic();
    let several = prop::collection::vec(any_record(), count);
    several.new_tree(&mut runner).unwrap().current()
}

/// A journal that has opened its first segment, and its folder.
fn journal() -> (Journal, TempDir) {
    let folder = tempdir().unwrap();
    let journal = Journal::start(folder.path(), LIMIT, NEVER);
    maintain(&journal);
    (journal, folder)
}

/// What the journal's thread finds, after it has written what was appended so far.
fn look<T: Send + 'static>(journal: &Journal, look: impl FnOnce(&mut Writer) -> T + Send + 'static) -> T {
    journal.on_thread(look).blocking_recv().unwrap()
}

fn settle(journal: &Journal) {
    look(journal, |_| ());
}

/// One round, with what it syncs.
fn maintain(journal: &Journal) {
    look(journal, |writer| {
        writer.maintain();
        writer.collect_synced(true);
    });
}

fn close(journal: &Journal) -> u64 {
    look(journal, Writer::close)
}

fn bytes(journal: &Journal) -> u64 {
    look(journal, |writer| writer.bytes())
}

/// Whether there is nothing left to do for the journal.
fn is_idle(journal: &Journal) -> bool {
    let has_files = look(journal, |writer| {
        !writer.sealed.is_empty() || writer.open.as_ref().is_none_or(|open| open.bytes > 0)
    });
    is_up(journal) && journal.calls.is_idle() && !has_files
}

/// A record whose answer is written to a client at once.
fn keep(journal: &Journal, record: &UsageRecord) -> Option<EntryNumber> {
    let entry = journal.append(record);
    settle(journal);
    entry.filter(|_| is_up(journal))
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

/// All that another process finds.
fn left_over(folder: &Path) -> Vec<UsageRecord> {
    let other = Journal::start(folder, LIMIT, NEVER);
    let mut found = Vec::new();
    for orphan in other.orphans(&BTreeSet::new()).unwrap() {
        let mut reader = orphan.open().unwrap().unwrap();
        found.extend(reader.batch(1_000_000).unwrap());
        assert_eq!((reader.findings().damaged, reader.findings().foreign), (0, 0));
    }
    found
}

fn retry_now(journal: &Journal) {
    journal.queue().retry_at = None;
    maintain(journal);
}

fn is_up(journal: &Journal) -> bool {
    journal.queue().fault.is_none()
}

#[test]
fn a_segment_goes_once_the_database_has_all_of_it() {
    let (journal, folder) = journal();
    let records = records(3);
    let places: Vec<_> = records.iter().map(|record| keep(&journal, record).unwrap()).collect();
    maintain(&journal);
    assert_eq!(files(folder.path()), 2, "one sealed, one open");
    journal.confirm(&places[..2]);
    maintain(&journal);
    assert_eq!(files(folder.path()), 2, "one record is still missing");
    // Behind a segment that waits, the open one goes on.
    let later = keep(&journal, &records[0]).unwrap();
    maintain(&journal);
    assert_eq!(files(folder.path()), 2);
    journal.confirm(&places[2..]);
    maintain(&journal);
    assert_eq!(files(folder.path()), 1);
    assert!(!is_idle(&journal));
    journal.confirm(&[later]);
    maintain(&journal);
    maintain(&journal);
    assert!(is_idle(&journal));
    assert_eq!(close(&journal), 0);
    assert_eq!(files(folder.path()), 0);
}

#[test]
fn what_was_not_confirmed_is_found_by_the_next_process_and_only_once_the_first_is_gone() {
    let (journal, folder) = journal();
    let records = records(40);
    for (index, record) in records.iter().enumerate() {
        assert!(keep(&journal, record).is_some());
        if index % 10 == 0 {
            maintain(&journal);
        }
    }
    assert!(left_over(folder.path()).is_empty(), "its owner lives");
    drop(journal);
    assert_eq!(left_over(folder.path()), records);

    let next = Journal::start(folder.path(), LIMIT, NEVER);
    for orphan in next.orphans(&BTreeSet::new()).unwrap() {
        next.forget(&orphan).unwrap();
    }
    assert!(left_over(folder.path()).is_empty());
    assert_eq!((bytes(&next), files(folder.path())), (0, 0));
}

#[test]
fn closing_keeps_what_the_database_does_not_have() {
    let (journal, folder) = journal();
    let records = records(5);
    let places: Vec<_> = records.iter().map(|record| keep(&journal, record).unwrap()).collect();
    journal.confirm(&places[2..]);
    assert_eq!(close(&journal), 2);
    assert_eq!(left_over(folder.path()), records);
    assert!(keep(&journal, &records[0]).is_none());
    maintain(&journal);
    assert_eq!(files(folder.path()), 1, "closed is closed");
}

#[test]
fn unconfirmed_records_are_synced_within_two_rounds() {
    let (journal, _folder) = journal();
    let records = records(2);
    let unsynced = |writer: &mut Writer| {
        let segments = writer.sealed.iter().chain(&writer.open);
        (
            segments.map(|one| one.bytes - one.synced).sum::<u64>(),
            writer.sealed.len(),
        )
    };
    for record in &records {
        keep(&journal, record).unwrap();
        maintain(&journal);
        let (bytes, sealed) = look(&journal, unsynced);
        assert!(bytes > 0 || sealed == 1);
        maintain(&journal);
        assert_eq!(look(&journal, unsynced).0, 0);
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
