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
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};

pub use pieces::{MOST_BUFFERED, Pieces};

/// How often a quiet worker looks whether it has become busy.
const PROBE: u32 = 8;
/// So many writes in a row that have waited for nobody make a worker quiet. Waiting for nobody costs little, one more look at
/// the connection; giving up too early costs batches (decision 0016).
const PATIENCE: u32 = 64;
/// More than any worker has connections ready: counted by another worker, which the task has moved from.
const TOO_MANY: u32 = 1 << 20;

/// What one worker knows. Each thread has its own, so that nothing is shared on the way of a request.
struct Worker {
    /// Counts, round and round, how often a connection asked or had its turn.
    steps: Cell<u32>,
    /// How many more writes may wait for nobody; none: the worker is quiet.
    patience: Cell<u32>,
}

thread_local! {
    static WORKER: Worker = const { Worker { steps: Cell::new(0), patience: Cell::new(0) } };
}

impl Worker {
    fn step(&self) -> u32 {
        let step = self.steps.get().wrapping_add(1);
        self.steps.set(step);
        step
    }

    fn note(&self, others: u32) {
        match others {
            0 => self.patience.set(self.patience.get().saturating_sub(1)),
            1..TOO_MANY => self.patience.set(PATIENCE),
            _ => {}
        }
    }
}

/// What has to have happened before a connection writes. It is asked before every write.
pub trait BeforeWrite: Unpin + Send + 'static {
    fn before_write(&self);
}

/// Nothing.
impl BeforeWrite for () {
    fn before_write(&self) {}
}

/// A connection that waits for its turn to write, at most once for each write.
pub struct Turn<T, B = ()> {
    connection: T,
    before: B,
    /// The step at which it began to wait.
    waits_since: Option<u32>,
}

impl<T, B: BeforeWrite> Turn<T, B> {
    pub fn new(connection: T, before: B) -> Self {
        Self {
            connection,
            before,
            waits_since: None,
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
            let waits = worker.patience.get() > 0 || step.is_multiple_of(PROBE);
            self.waits_since = waits.then_some(step);
            waits
        });
        if waits {
            // Back into the worker's queue, behind all that is ready.
            context.waker().wake_by_ref();
        } else {
            self.before.before_write();
        }
        !waits
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
/// copying them (docs/BENCHMARKS.md). Large bodies come in [`Pieces`].
impl<T: Write + Unpin, B: BeforeWrite> Write for Turn<T, B> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.has_come(context) {
            return Poll::Pending;
        }
        Pin::new(&mut self.connection).poll_write(context, bytes)
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
