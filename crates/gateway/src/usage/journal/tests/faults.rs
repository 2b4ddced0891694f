//! A disk that is full, or away.

use std::{fs, fs::File, sync::Arc};

use tempfile::tempdir;

use super::{LIMIT, NEVER, close, files, is_up, journal, keep, left_over, look, maintain, records, retry_now, settle};
use crate::usage::journal::Journal;

/// The open segment's file takes nothing any more. Returns it as it was.
fn fill_up(journal: &Journal) -> Arc<File> {
    let full = Arc::new(File::options().write(true).open("/dev/full").unwrap());
    look(journal, |writer| {
        std::mem::replace(&mut writer.open.as_mut().unwrap().file, full)
    })
}

#[test]
fn a_full_journal_stands_aside_until_there_is_room() {
    let (journal, folder) = journal();
    let record = &records(1)[0];
    let mut places = Vec::new();
    while let Some(place) = keep(&journal, record) {
        places.push(place);
        if places.len() % 100 == 0 {
            maintain(&journal);
        }
    }
    assert!(!is_up(&journal));
    let on_disk = || -> u64 {
        let entries = fs::read_dir(folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    };
    assert!((LIMIT * 9 / 10..=LIMIT).contains(&on_disk()), "{}", on_disk());
    maintain(&journal);
    assert!(!is_up(&journal) && keep(&journal, record).is_none());
    journal.confirm(&places);
    maintain(&journal);
    maintain(&journal);
    assert!(is_up(&journal) && keep(&journal, record).is_some());
    assert!(on_disk() < LIMIT / 10);
}

#[test]
fn a_disk_without_room_is_left_alone_and_tried_again() {
    let (journal, folder) = journal();
    let records = records(3);
    keep(&journal, &records[0]).unwrap();
    let real = fill_up(&journal);
    assert!(keep(&journal, &records[1]).is_none());
    assert!(!is_up(&journal));
    look(&journal, |writer| writer.sealed[0].file = real);
    maintain(&journal);
    assert!(!is_up(&journal), "not tried again at once");
    retry_now(&journal);
    assert!(is_up(&journal));
    keep(&journal, &records[2]).unwrap();
    drop(journal);
    assert_eq!(left_over(folder.path()), [records[0].clone(), records[2].clone()]);
}

#[test]
fn a_folder_that_cannot_be_is_told_and_awaited() {
    let folder = tempdir().unwrap();
    let place = folder.path().join("journal");
    fs::write(&place, "a file").unwrap();
    let journal = Journal::start(&place, LIMIT, NEVER);
    let record = &records(1)[0];
    maintain(&journal);
    assert!(!is_up(&journal) && keep(&journal, record).is_none());
    retry_now(&journal);
    assert!(!is_up(&journal));
    fs::remove_file(&place).unwrap();
    retry_now(&journal);
    assert!(is_up(&journal) && keep(&journal, record).is_some());

    // Taken away while it is in use, it is noticed when the next segment is due.
    fs::remove_dir_all(&place).unwrap();
    maintain(&journal);
    assert_eq!((is_up(&journal), files(&place)), (true, 1), "made again");
    assert!(keep(&journal, record).is_some());
}

#[test]
fn what_the_disk_did_not_take_is_not_said_to_be_kept() {
    let (journal, folder) = journal();
    let records = records(3);
    keep(&journal, &records[0]).unwrap();
    let real = fill_up(&journal);
    journal.append(&records[1]).unwrap();
    journal.append(&records[2]).unwrap();
    settle(&journal);
    assert!(!is_up(&journal) && journal.append(&records[1]).is_none());
    look(&journal, |writer| writer.sealed[0].file = real);
    assert_eq!(close(&journal), 1);
    assert_eq!(left_over(folder.path()), records[..1]);
}

#[test]
fn what_the_database_has_of_a_segment_that_failed_is_not_taken_for_what_it_lacks() {
    let (journal, folder) = journal();
    let records = records(3);
    keep(&journal, &records[0]).unwrap();
    let real = fill_up(&journal);
    let missing: Vec<_> = records[1..]
        .iter()
        .map(|record| journal.append(record).unwrap())
        .collect();
    settle(&journal);
    look(&journal, |writer| writer.sealed[0].file = real);
    journal.confirm(&missing);
    maintain(&journal);
    assert_eq!(close(&journal), 1);
    assert_eq!(left_over(folder.path()), records[..1]);
}
