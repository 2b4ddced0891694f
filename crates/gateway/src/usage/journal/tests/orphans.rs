//! Files that cannot be taken up as they are.

use std::{
    collections::BTreeSet,
    fs::{self, File},
};

use super::{LIMIT, NEVER, bytes, files, journal, keep, maintain, records};
use crate::usage::journal::Journal;

#[test]
fn a_piece_that_is_missing_at_the_end_is_missed_even_between_two_records() {
    let (journal, folder) = journal();
    for record in &records(20) {
        keep(&journal, record).unwrap();
    }
    // Sealed, and not in the database when its time is over.
    for _ in 0..3 {
        maintain(&journal);
    }
    drop(journal);
    let next = Journal::start(folder.path(), LIMIT, NEVER);
    let found = next.orphans(&BTreeSet::new()).unwrap();
    let [sealed] = &found[..] else { panic!("{found:?}") };
    assert_eq!(sealed.missing(), 0);
    let mut reader = sealed.open().unwrap().unwrap();
    assert_eq!(reader.batch(100).unwrap().len(), 20);
    drop(reader);
    let mut whole = fs::read(&sealed.path).unwrap();
    let frame = usize::from(u16::from_le_bytes([whole[2], whole[3]])) + 8;
    whole.truncate(frame);
    fs::write(&sealed.path, &whole).unwrap();
    let cut = next.orphans(&BTreeSet::new()).unwrap().remove(0);
    let mut reader = cut.open().unwrap().unwrap();
    assert_eq!(reader.batch(100).unwrap().len(), 1);
    assert!(!reader.findings().is_cut_off, "nothing in it tells");
    assert_eq!(cut.missing(), sealed.bytes - frame as u64);
}

#[test]
fn what_is_set_aside_stays_is_not_read_again_and_does_not_count() {
    let (journal, folder) = journal();
    keep(&journal, &records(1)[0]).unwrap();
    drop(journal);
    let next = Journal::start(folder.path(), LIMIT, NEVER);
    let found = next.orphans(&BTreeSet::new()).unwrap();
    assert!(bytes(&next) > 0);
    let place = next.set_aside(&found[0]).unwrap();
    assert_eq!(fs::metadata(&place).unwrap().len(), found[0].bytes);
    assert_eq!((next.orphans(&BTreeSet::new()).unwrap(), bytes(&next)), (vec![], 0));
    assert_eq!(files(folder.path()), 1);
}

#[test]
fn what_is_kept_for_another_version_does_not_count() {
    let (journal, folder) = journal();
    keep(&journal, &records(1)[0]).unwrap();
    drop(journal);
    let next = Journal::start(folder.path(), LIMIT, NEVER);
    let found = next.orphans(&BTreeSet::new()).unwrap();
    let kept = BTreeSet::from([found[0].path.clone()]);
    assert_eq!((next.orphans(&kept).unwrap(), bytes(&next)), (vec![], 0));
    assert!(found[0].path.exists());
}

#[test]
fn a_refused_record_is_kept_beside_the_others() {
    let (journal, folder) = journal();
    let records = records(2);
    let place = journal.set_record_aside(&records[0]).unwrap();
    assert_eq!(journal.set_record_aside(&records[1]).unwrap(), place);
    let mut reader = crate::usage::journal::Reader::new(File::open(place).unwrap());
    assert_eq!(reader.batch(9).unwrap(), records);
    assert!(folder.path().exists());
}
