//! Writes of many connections that are ready at once, done one after the other rather than each in the middle of its work.
//!
//! A busy worker finds some dozens of connections ready at a time. If each wrote as soon as it could, the other end of the
//! first would be woken, find one message, and go to sleep again before the next is written: a wake-up for each message,
//! which costs more than the message. So a connection that has something to write lets those that are ready have their
//! turn first, once; then all of them write in a row. It also keeps the code that parses and the code that writes in the
//! processor's cache, each for its time.
//!
//! That pays only if others are ready, which a worker learns by watching: a connection that waited for its turn knows how
//! many others came to theirs meanwhile. After a while without any, only every [`PROBE`]th write waits.

mod pieces;

use std::{
    cell::Cell,
    io,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use hyper::rt::{Read, ReadBufCursor, Write};

pub use pieces::{MAX_BUFFERED_BYTES, Pieces};

/// How often a quiet worker looks whether it has become busy.
const PROBE: u32 = 8;
/// So many writes in a row that have waited for nobody make a worker quiet. Waiting for nobody costs little, one more look at
/// the connection; giving up too early costs batches (decision 0016).
const QUIET_AFTER: u32 = 64;
/// More than any worker has connections ready: counted by another worker, which the task has moved from.
const TOO_MANY: u32 = 1 << 20;

/// What one worker knows. Each thread has its own, so that nothing is shared on the way of a request.
struct Worker {
    /// Counts, round and round, how often a connection asked or had its turn.
    steps: Cell<u32>,
    /// How many more writes may wait for nobody; none: the worker is quiet.
    busy_writes: Cell<u32>,
}

thread_local! {
    static WORKER: Worker = const { Worker { steps: Cell::new(0), busy_writes: Cell::new(0) } };
}

impl Worker {
    fn step(&self) -> u32 {
        let step = self.steps.get().wrapping_add(1);
        self.steps.set(step);
        step
    }

    fn note(&self, others: u32) {
        match others {
            0 => self.busy_writes.set(self.busy_writes.get().saturating_sub(1)),
            1..TOO_MANY => self.busy_writes.set(QUIET_AFTER),
            _ => {}
        }
    }
}

/// What has to have happened before a connection writes. It is asked before every write.
pub trait BeforeWrite: Unpin + Send + 'static {
    /// What is to happen before what is written now: nothing, if it has. Cheap, since each write asks.
    fn mark(&self) -> Option<u64>;

    /// Whether that has happened.
    fn is_done(&self, mark: u64) -> bool;

    /// Sees to it that it happens, and wakes the task then; false if it has happened already.
    fn wake_when_done(&self, mark: u64, waker: &Waker) -> bool;
}

/// Nothing.
impl BeforeWrite for () {
    fn mark(&self) -> Option<u64> {
        None
    }

    fn is_done(&self, _: u64) -> bool {
        true
    }

    fn wake_when_done(&self, _: u64, _: &Waker) -> bool {
        false
    }
}

/// Bytes that may go once `mark` has happened.
struct Held {
    mark: u64,
    bytes: usize,
    waker: Waker,
}

/// A connection that waits for its turn to write, at most once for each write.
pub struct Turn<T, B = ()> {
    connection: T,
    before: B,
    /// The step at which it began to wait.
    waits_since: Option<u32>,
    /// It has had its turn, and what has to happen before it has not happened.
    held: Option<Held>,
}

impl<T, B: BeforeWrite> Turn<T, B> {
    pub fn new(connection: T, before: B) -> Self {
        Self {
            connection,
            before,
            waits_since: None,
            held: None,
        }
    }

    /// Whether it may write now. If not, its task is woken when the others have had their turn.
    fn has_come(&mut self, context: &mut Context<'_>) -> bool {
        let waits = WORKER.with(|worker| {
            let step = worker.step();
            if let Some(since) = self.waits_since.take() {
                worker.note(step.wrapping_sub(since).wrapping_sub(1));
                return false;
            }
            let waits = worker.busy_writes.get() > 0 || step.is_multiple_of(PROBE);
            self.waits_since = waits.then_some(step);
            waits
        });
        if waits {
            // Back into the worker's queue, behind all that is ready.
            context.waker().wake_by_ref();
        }
        !waits
    }

    /// How many of `length` bytes may be written now.
    fn allowed(&mut self, context: &mut Context<'_>, length: usize) -> Poll<usize> {
        if self.held.is_none() && !self.has_come(context) {
            return Poll::Pending;
        }
        let Some(mark) = self.before.mark() else {
            self.held = None;
            return Poll::Ready(length);
        };
        let (mark, bytes) = match self.held.take() {
            // What has come since may be more than what was waited for is good for.
            Some(held) if self.before.is_done(held.mark) => return Poll::Ready(held.bytes.min(length)),
            Some(held) if held.waker.will_wake(context.waker()) => {
                self.held = Some(held);
                return Poll::Pending;
            }
            Some(held) => (held.mark, held.bytes),
            None => (mark, length),
        };
        let waker = context.waker().clone();
        if !self.before.wake_when_done(mark, &waker) {
            return Poll::Ready(bytes.min(length));
        }
        self.held = Some(Held { mark, bytes, waker });
        Poll::Pending
    }
}

impl<T: Read + Unpin, B: BeforeWrite> Read for Turn<T, B> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_read(context, buffer)
    }
}

/// Not vectored, so that hyper puts a head and its body into one buffer as it makes them: small pieces written apart cost more than
/// copying them (docs/benchmarks/calls.md). Large bodies come in [`Pieces`].
impl<T: Write + Unpin, B: BeforeWrite> Write for Turn<T, B> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let allowed = ready!(self.allowed(context, bytes.len()));
        Pin::new(&mut self.connection).poll_write(context, &bytes[..allowed])
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
