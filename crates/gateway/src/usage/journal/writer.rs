//! The writer thread, so that no serving thread waits for the disk.
//!
//! When woken it takes all pending records, writes them, and wakes the waiting connections: one write for all. Appending
//! holds the lock only while a record is copied, never during a write.

use std::{
    io,
    sync::{Arc, PoisonError, atomic::Ordering},
    task::Waker,
    time::{Duration, Instant},
};

use super::{
    Fault, Handle, Journal, JournalInner, STALLED, segment,
    state::{Stage, State},
};
use concurrency::write_coalescing::PreWriteHook;

/// Starts the thread. It ends once the last [`Journal`] is gone and nothing is pending.
pub(super) fn start(shared: &Arc<JournalInner>) -> io::Result<()> {
    let shared = Arc::clone(shared);
    std::thread::Builder::new()
        .name("usage-journal".to_owned())
        .spawn(move || shared.write_until_ended())
        .map(|_| ())
}

impl JournalInner {
    fn write_until_ended(&self) {
        let mut state = self.state();
        loop {
            while !state.asked && state.stage == Stage::Running {
                state = self.asked.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.asked = false;
            let appended = self.appended.load(Ordering::Acquire);
            let chunks = state.take_chunks(Instant::now());
            let ends = state.stage == Stage::Ending;
            drop(state);
            let mut spare = Vec::new();
            let mut outcomes = Vec::with_capacity(chunks.len());
            for chunk in chunks {
                outcomes.push((
                    chunk.segment,
                    chunk.records,
                    segment::append(&chunk.file, &chunk.frames, chunk.at),
                ));
                spare = chunk.frames;
            }
            state = self.state();
            state.note_written(spare);
            let was_working = state.fault.is_none();
            for (number, records, outcome) in outcomes {
                note(&mut state, number, records, outcome);
            }
            if was_working {
                self.log_fault(&state);
            }
            if ends {
                state.stage = Stage::Gone;
            }
            let woken = self.release(&mut state, appended);
            drop(state);
            self.done.notify_all();
            woken.into_iter().for_each(Waker::wake);
            if ends {
                return;
            }
            state = self.state();
        }
    }

    /// Marks everything `appended` so far as safe. Returns the wakers of the waiting connections.
    fn release(&self, state: &mut State, appended: u64) -> Vec<Waker> {
        let safe = self.safe.fetch_max(appended, Ordering::AcqRel).max(appended);
        let due = state.waiters.extract_if(.., |(mark, _)| *mark <= safe);
        due.map(|(_, waker)| waker).collect()
    }

    /// Whether an appended record is not safe yet.
    pub(super) fn is_behind(&self) -> bool {
        self.safe.load(Ordering::Acquire) < self.appended.load(Ordering::Acquire)
    }

    /// Wakes the writer, unless it has been woken already.
    pub(super) fn ask(&self, state: &mut State) {
        if !std::mem::replace(&mut state.asked, true) {
            self.asked.notify_one();
        }
    }
}

fn note(state: &mut State, number: u64, records: u64, outcome: io::Result<u64>) {
    match (state.segment(number), outcome) {
        (Some(segment), Ok(bytes)) => segment.bytes += bytes,
        // The database has confirmed all of it meanwhile.
        (None, Ok(_)) => {}
        (segment, Err(error)) => {
            if let Some(segment) = segment {
                segment.missing += records;
            }
            if state.fault.is_none() {
                state.fail(Fault::Write(error));
            }
        }
    }
}

impl Journal {
    /// Starts writing the appended records into the page cache, without waiting.
    pub(in crate::usage) fn commit(&self) {
        if self.is_behind() {
            self.ask(&mut self.state());
        }
    }

    /// The same, waiting for at most `limit`; whether it is done.
    pub(super) fn settle(&self, limit: Duration) -> bool {
        let appended = self.appended.load(Ordering::Acquire);
        let mut state = self.state();
        let deadline = Instant::now() + limit;
        // `safe` does not tell: it also covers records that were given up.
        while self.safe.load(Ordering::Acquire) < appended || state.writing_since.is_some() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return false;
            };
            self.ask(&mut state);
            let waited = self.done.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Releases the connections that wait for a stalled disk. Called every [`super::WATCH_INTERVAL`]; never waits.
    pub(in crate::usage) fn watch(&self) {
        if !self.is_behind() {
            return;
        }
        let mut state = self.state();
        if !state.is_stalled(Instant::now()) {
            return;
        }
        let was_working = state.fault.is_none();
        if was_working {
            state.fail(Fault::Stalled);
            self.log_fault(&state);
        }
        let woken = self.release(&mut state, self.appended.load(Ordering::Acquire));
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Handle {
    /// Writes the rest, if the disk accepts it, and releases the locks of the segments and of the calls' file.
    fn drop(&mut self) {
        let mut state = self.0.state();
        if state.stage == Stage::Running {
            state.stage = Stage::Ending;
        }
        self.0.asked.notify_one();
        let deadline = Instant::now() + STALLED;
        while state.stage != Stage::Gone
            && let Some(left) = deadline.checked_duration_since(Instant::now())
        {
            let waited = self.0.done.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.open = None;
        state.sealed.clear();
        drop(state);
        self.0.calls.unlock();
    }
}

/// A response is written only after its record is safe.
impl PreWriteHook for Journal {
    fn mark(&self) -> Option<u64> {
        self.is_behind().then(|| self.appended.load(Ordering::Acquire))
    }

    fn is_done(&self, mark: u64) -> bool {
        self.safe.load(Ordering::Acquire) >= mark
    }

    fn wake_when_done(&self, mark: u64, waker: &Waker) -> bool {
        let mut state = self.state();
        if self.is_done(mark) {
            return false;
        }
        state.waiters.push((mark, waker.clone()));
        self.ask(&mut state);
        true
    }
}
