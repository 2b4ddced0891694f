//! A disk that takes a write and does not give it back.

use std::{
    fs::File,
    io::{PipeReader, Read, Write},
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Instant,
};

use super::{TIMEOUT, is_up, journal, keep, left_over, look, maintain, records};
use crate::usage::journal::{Journal, writer::Writer};
use concurrency::write_coalescing::PreWriteHook;

/// What a pipe holds on Linux.
const PIPE_ROOM: usize = 64 * 1024;

/// Its open segment is a pipe that nobody reads, and that is full. What it was comes back with the pipe's other end.
fn stall(journal: &Journal) -> (PipeReader, Arc<File>) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&vec![0; PIPE_ROOM]).unwrap();
    let full = Arc::new(File::from(OwnedFd::from(writer)));
    let real = look(journal, |writer| {
        std::mem::replace(&mut writer.open.as_mut().unwrap().file, full)
    });
    (reader, real)
}

/// Whether a connection may write, and is woken if not.
fn may_write(journal: &Journal) -> bool {
    let before = Some(journal.clone());
    let Some(mark) = before.mark() else { return true };
    !before.wake_when_done(mark, Waker::noop())
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_disk_that_stalls_holds_up_no_thread_and_lets_everybody_go() {
    let (journal, folder) = journal();
    let records = records(4);
    keep(&journal, &records[0]).unwrap();
    let (mut reader, real) = stall(&journal);
    journal.append(&records[1]).unwrap();
    assert!(!may_write(&journal), "its record is not safe");
    // Others go on appending while the writer is stuck.
    until("the write", || journal.queue().frames.is_empty());
    journal.append(&records[2]).unwrap();
    journal.watch();
    assert!(is_up(&journal) && !may_write(&journal), "it is not late yet");
    until("the end of patience", || {
        journal.watch();
        !is_up(&journal)
    });
    assert!(may_write(&journal) && journal.queue().waiters.is_empty());
    assert!(journal.append(&records[3]).is_none() && may_write(&journal));
    // The disk is left alone until it has given the write back.
    journal.queue().retry_at = None;
    let put_back = journal.on_thread(|writer| writer.open.as_mut().unwrap().file = real);
    let retried = journal.on_thread(Writer::maintain);
    assert!(!is_up(&journal) && put_back.is_empty() && retried.is_empty());

    let mut taken = vec![0; 1 << 20];
    let mut all = 0;
    until("the writes", || {
        all += reader.read(&mut taken).unwrap();
        !retried.is_empty() && !journal.is_behind()
    });
    assert!(all >= PIPE_ROOM);
    assert!(is_up(&journal));
    keep(&journal, &records[3]).unwrap();
    drop(journal);
    assert_eq!(left_over(folder.path()), [records[0].clone(), records[3].clone()]);
}

#[test]
fn what_waits_for_a_stalled_disk_is_bounded() {
    let (journal, _folder) = journal();
    let record = &records(1)[0];
    let (_reader, _real) = stall(&journal);
    journal.append(record).unwrap();
    assert!(!may_write(&journal));
    let mut taken = 0;
    while journal.append(record).is_some() {
        taken += 1;
        assert!(taken < 1_000_000);
    }
    assert!(!is_up(&journal));
    journal.watch();
}

#[test]
fn who_waits_is_woken_once_its_record_is_written() {
    let (journal, _folder) = journal();
    let before = Some(journal.clone());
    assert_eq!(before.mark(), None);
    journal.append(&records(1)[0]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let woken = std::future::poll_fn(|context: &mut Context<'_>| {
            let waits = before
                .mark()
                .is_some_and(|mark| before.wake_when_done(mark, context.waker()));
            if waits { Poll::Pending } else { Poll::Ready(()) }
        });
        tokio::time::timeout(TIMEOUT, woken).await.unwrap();
    });
    assert_eq!(before.mark(), None);
}

/// Syncing lasts as long as this is locked.
static SYNC: Mutex<()> = Mutex::new(());

#[test]
fn a_slow_sync_holds_up_no_record_and_is_noted_when_it_is_over() {
    let (journal, folder) = journal();
    let records = records(3);
    look(&journal, |writer| {
        writer.sync_files = |_, _| {
            drop(SYNC.lock());
            Ok(())
        };
    });
    let slow = SYNC.lock().unwrap();
    keep(&journal, &records[0]).unwrap();
    for _ in 0..3 {
        look(&journal, Writer::maintain);
    }
    let unsynced = |writer: &mut Writer| {
        let sealed = writer.sealed.iter().map(|one| one.bytes - one.synced);
        (writer.syncing.is_some(), sealed.sum::<u64>() > 0)
    };
    assert_eq!(look(&journal, unsynced), (true, true));
    // The disk takes writes all the same.
    keep(&journal, &records[1]).unwrap();
    assert!(may_write(&journal));
    look(&journal, Writer::maintain);
    keep(&journal, &records[2]).unwrap();
    drop(slow);
    maintain(&journal);
    maintain(&journal);
    assert_eq!(look(&journal, unsynced), (false, false));
    assert!(is_up(&journal));
    drop(journal);
    assert_eq!(left_over(folder.path()), records);
}

#[test]
fn without_its_thread_it_lets_everybody_go_and_says_so() {
    let (journal, folder) = journal();
    let records = records(2);
    keep(&journal, &records[0]).unwrap();
    let gone = journal.on_thread(|_| -> () { panic!("as a bug would") });
    assert!(gone.blocking_recv().is_err());
    journal.append(&records[1]).unwrap();
    assert!(!may_write(&journal));
    until("the end of patience", || {
        journal.watch();
        !is_up(&journal)
    });
    assert!(may_write(&journal) && journal.append(&records[1]).is_none());
    // Its files are unlocked once the thread has unwound: any process takes them up.
    until("its files", || left_over(folder.path()) == records[..1]);
}
