//! What has been written, and when.

use std::{fs, path::Path, time::Instant};

use super::{TIMEOUT, bytes, journal, maintain, records, settle};
use domain::usage::UsageRecord;

/// What is on the disk of a journal that is still in use.
fn written(folder: &Path) -> Vec<u8> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .flat_map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect()
}

fn has(bytes: &[u8], record: &UsageRecord) -> bool {
    bytes.windows(16).any(|window| window == record.id.0.as_bytes())
}

#[test]
fn what_is_appended_together_is_written_together() {
    let (journal, folder) = journal();
    let records = records(3);
    for record in &records {
        journal.append(record).unwrap();
    }
    assert!(written(folder.path()).is_empty() && journal.is_behind());
    settle(&journal);
    let bytes = written(folder.path());
    assert!(records.iter().all(|record| has(&bytes, record)));
    settle(&journal);
    assert_eq!(written(folder.path()), bytes);
}

#[test]
fn whoever_has_committed_finds_its_record_whatever_others_do() {
    let (journal, folder) = journal();
    std::thread::scope(|threads| {
        for part in records(400).chunks(100) {
            let (part, journal, folder) = (part.to_vec(), journal.clone(), folder.path());
            threads.spawn(move || {
                for record in part {
                    journal.append(&record).unwrap();
                    settle(&journal);
                    assert!(has(&written(folder), &record));
                }
            });
        }
    });
}

#[test]
fn much_that_nobody_commits_is_written_all_the_same() {
    let (journal, folder) = journal();
    for record in records(1_000) {
        journal.append(&record).unwrap();
    }
    let deadline = Instant::now() + TIMEOUT;
    while written(folder.path()).is_empty() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    maintain(&journal);
    assert_eq!(bytes(&journal), written(folder.path()).len() as u64);
}
