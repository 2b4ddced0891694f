//! A disk that takes a write and does not give it back.

use std::{
    fs::File,
    io::{PipeReader, Read, Write},
    os::fd::OwnedFd,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use super::{TIMEOUT, is_up, journal, keep, left_over, records, retry_now};
use crate::usage::journal::{Journal, STALLED};
use concurrency::write_coalescing::PreWriteHook;

/// What a pipe holds on Linux.
const PIPE_ROOM: usize = 64 * 1024;

/// Its open segment is a pipe that nobody reads, and that is full. What it was comes back with the pipe's other end.
fn stall(journal: &Journal) -> (PipeReader, Arc<File>) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&vec![0; PIPE_ROOM]).unwrap();
    let full = File::from(OwnedFd::from(writer));
    let real = std::mem::replace(&mut journal.state().open.as_mut().unwrap().file, Arc::new(full));
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
    let place = journal.append(&records[1]).unwrap();
    assert!(!may_write(&journal), "its record is not safe");
    // Others go on appending while the writer is stuck.
    until("the write", || journal.state().writing_since.is_some());
    journal.append(&records[2]).unwrap();
    journal.watch();
    assert!(is_up(&journal) && !may_write(&journal), "it is not late yet");
    until("the end of patience", || {
        journal.watch();
        !is_up(&journal)
    });
    assert!(may_write(&journal) && journal.state().waiters.is_empty());
    assert!(journal.append(&records[3]).is_none() && may_write(&journal));
    // The disk is left alone until it has given the write back.
    let began = Instant::now();
    retry_now(&journal);
    assert!(!is_up(&journal) && began.elapsed() < 10 * STALLED);

    let mut taken = vec![0; 1 << 20];
    let mut all = 0;
    until("the writes", || {
        all += reader.read(&mut taken).unwrap();
        journal.state().writing_since.is_none() && !journal.is_behind()
    });
    assert!(all > 0);
    journal.state().segment(place.0).unwrap().file = real;
    retry_now(&journal);
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
