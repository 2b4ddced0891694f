//! What can happen while a model is kept, from threads that wait for it.

use std::{
    io::{self, Read},
    os::fd::AsFd,
    path::PathBuf,
    sync::mpsc::{self, Receiver, SyncSender},
    thread,
};

use rustix::fs::FileType;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{serve::Listening, weights::WeightsError};

/// Events that wait; threads that have more wait too.
const MAX_QUEUED: usize = 64;

/// Each start of the server has a number; what is told of an earlier one counts no more.
pub(super) type Start = u32;

#[derive(Debug)]
pub(super) enum Event {
    Stop,
    Note(String),
    Fetching { done: u64, total: u64 },
    Fetched(Result<PathBuf, WeightsError>),
    Listening(Start, Listening),
    Healthy(Start),
}

pub(super) fn channel() -> (SyncSender<Event>, Receiver<Event>) {
    mpsc::sync_channel(MAX_QUEUED)
}

/// Ctrl-C, TERM and the end of the terminal.
pub(super) fn watch_signals(events: &SyncSender<Event>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let events = events.clone();
    thread::spawn(move || {
        for _ in signals.forever() {
            if events.send(Event::Stop).is_err() {
                break;
            }
        }
    });
    Ok(())
}

/// A pipe's end is that of whoever holds its other side. A terminal or `/dev/null` says nothing of the kind.
pub(super) fn watch_stdin(events: &SyncSender<Event>) {
    let is_pipe = rustix::fs::fstat(io::stdin().as_fd()).is_ok_and(|about| {
        matches!(
            FileType::from_raw_mode(about.st_mode),
            FileType::Fifo | FileType::Socket
        )
    });
    if !is_pipe {
        return;
    }
    let events = events.clone();
    thread::spawn(move || {
        let mut buffer = [0; 256];
        while io::stdin().lock().read(&mut buffer).is_ok_and(|length| length > 0) {}
        let _ = events.send(Event::Stop);
    });
}
