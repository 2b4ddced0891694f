//! A disk that is full, or away.

use std::{fs, fs::File, sync::Arc};

use tempfile::tempdir;

use super::{LIMIT, TIMEOUT, files, is_up, journal, keep, left_over, records, retry_now};
use crate::usage::journal::Journal;

#[test]
fn a_full_journal_stands_aside_until_there_is_room() {
    let (journal, folder) = journal();
    let record = &records(1)[0];
    let mut places = Vec::new();
    while let Some(place) = keep(&journal, record) {
        places.push(place);
        if places.len() % 100 == 0 {
            journal.maintain();
        }
    }
    assert!(!is_up(&journal));
    let on_disk = || -> u64 {
        let entries = fs::read_dir(folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    };
    assert!((LIMIT * 9 / 10..=LIMIT).contains(&on_disk()), "{}", on_disk());
    journal.maintain();
    assert!(!is_up(&journal) && keep(&journal, record).is_none());
    for place in places {
        journal.confirm(place, 1);
    }
    journal.maintain();
    journal.maintain();
    assert!(is_up(&journal) && keep(&journal, record).is_some());
    assert!(on_disk() < LIMIT / 10);
}

#[test]
fn a_disk_without_room_is_left_alone_and_tried_again() {
    let (journal, folder) = journal();
    let records = records(3);
    keep(&journal, &records[0]).unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let real = std::mem::replace(&mut journal.state().open.as_mut().unwrap().file, Arc::new(full));
    assert!(keep(&journal, &records[1]).is_none());
    assert!(!is_up(&journal));
    journal.state().sealed[0].file = real;
    journal.maintain();
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
    let journal = Journal::new(&place, LIMIT);
    let record = &records(1)[0];
    journal.maintain();
    assert!(!is_up(&journal) && keep(&journal, record).is_none());
    retry_now(&journal);
    assert!(!is_up(&journal));
    fs::remove_file(&place).unwrap();
    retry_now(&journal);
    assert!(is_up(&journal) && keep(&journal, record).is_some());

    // Taken away while it is in use, it is noticed when the next segment is due.
    fs::remove_dir_all(&place).unwrap();
    journal.maintain();
    assert_eq!((is_up(&journal), files(&place)), (true, 1), "made again");
    assert!(keep(&journal, record).is_some());
}

#[test]
fn what_the_disk_did_not_take_is_not_said_to_be_kept() {
    let (journal, folder) = journal();
    let records = records(3);
    keep(&journal, &records[0]).unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let real = std::mem::replace(&mut journal.state().open.as_mut().unwrap().file, Arc::new(full));
    journal.append(&records[1]).unwrap();
    journal.append(&records[2]).unwrap();
    journal.settle(TIMEOUT);
    assert!(!is_up(&journal) && journal.append(&records[1]).is_none());
    journal.state().sealed[0].file = real;
    assert_eq!(journal.close(), 1);
    assert_eq!(left_over(folder.path()), records[..1]);
}
