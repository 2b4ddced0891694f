//! Coalesces socket writes: a connection with data yields once, so that all ready connections write back to back.
//!
//! A busy worker finds some dozens of connections ready at a time. If each wrote as soon as it could, the peer of the
//! first would be woken, find one message, and go to sleep again before the next is written: one wake-up per message,
//! which costs more than the message. Writing back to back also keeps the parsing code and the writing code in the
//! processor's cache, each for its time.
//!
//! Yielding pays only if other connections are ready. A worker measures that: a connection that yielded counts how many
//! others ran meanwhile. After a while without any, only every [`PROBE`]th write yields.

mod chunked_body;

use std::{
    cell::Cell,
    io,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use hyper::rt::{Read, ReadBufCursor, Write};

pub use chunked_body::{ChunkedBody, MAX_BUFFERED_BYTES};

/// A quiet worker yields at every `PROBE`th write, to find out whether it has become busy.
const PROBE: u32 = 8;
/// A worker becomes quiet after so many writes in a row that yielded to no other connection. A needless yield costs little,
/// one more poll of the connection; giving up too early costs batches (decision 0016).
const QUIET_AFTER: u32 = 64;
/// An impossible count: the task migrated to another worker between the two samples. Ignore it.
const TOO_MANY: u32 = 1 << 20;

/// State of one worker thread. It is thread-local, so that requests share nothing here.
struct Worker {
    /// Number of polls for writing on this thread; it wraps around.
    steps: Cell<u32>,
    /// How many more writes may yield in vain; zero means that the worker is quiet.
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

/// A condition that must hold before a connection writes. It is checked before every write.
pub trait PreWriteHook: Unpin + Send + 'static {
    /// The mark that must be reached before the bytes at hand are written; `None` if it has been reached. Cheap, since every
    /// write calls it.
    fn mark(&self) -> Option<u64>;

    /// Whether `mark` has been reached.
    fn is_done(&self, mark: u64) -> bool;

    /// Makes sure that `mark` will be reached, and wakes the task then; false if it has been reached already.
    fn wake_when_done(&self, mark: u64, waker: &Waker) -> bool;
}

/// No condition where there is no hook.
impl<H: PreWriteHook> PreWriteHook for Option<H> {
    fn mark(&self) -> Option<u64> {
        self.as_ref()?.mark()
    }

    fn is_done(&self, mark: u64) -> bool {
        self.as_ref().is_none_or(|hook| hook.is_done(mark))
    }

    fn wake_when_done(&self, mark: u64, waker: &Waker) -> bool {
        self.as_ref().is_some_and(|hook| hook.wake_when_done(mark, waker))
    }
}

/// No condition.
impl PreWriteHook for () {
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

/// Bytes that may be written once `mark` has been reached.
struct DeferredWrite {
    mark: u64,
    bytes: usize,
    waker: Waker,
}

/// A connection that yields to other ready connections before it writes, at most once for each write.
pub struct CoalescedIo<T, B = ()> {
    connection: T,
    before: B,
    /// The step at which it yielded.
    yielded_at: Option<u32>,
    /// It has yielded, but the condition does not hold yet.
    deferred: Option<DeferredWrite>,
}

impl<T, B: PreWriteHook> CoalescedIo<T, B> {
    pub fn new(connection: T, before: B) -> Self {
        Self {
            connection,
            before,
            yielded_at: None,
            deferred: None,
        }
    }

    /// Whether it may write now. If not, its task is woken after the other ready tasks have run.
    fn poll_may_write(&mut self, context: &mut Context<'_>) -> bool {
        let waits = WORKER.with(|worker| {
            let step = worker.step();
            if let Some(since) = self.yielded_at.take() {
                worker.note(step.wrapping_sub(since).wrapping_sub(1));
                return false;
            }
            let waits = worker.busy_writes.get() > 0 || step.is_multiple_of(PROBE);
            self.yielded_at = waits.then_some(step);
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
        if self.deferred.is_none() && !self.poll_may_write(context) {
            return Poll::Pending;
        }
        let Some(mark) = self.before.mark() else {
            self.deferred = None;
            return Poll::Ready(length);
        };
        let (mark, bytes) = match self.deferred.take() {
            // Bytes added since may have a later mark.
            Some(deferred) if self.before.is_done(deferred.mark) => return Poll::Ready(deferred.bytes.min(length)),
            Some(deferred) if deferred.waker.will_wake(context.waker()) => {
                self.deferred = Some(deferred);
                return Poll::Pending;
            }
            Some(deferred) => (deferred.mark, deferred.bytes),
            None => (mark, length),
        };
        let waker = context.waker().clone();
        if !self.before.wake_when_done(mark, &waker) {
            return Poll::Ready(bytes.min(length));
        }
        self.deferred = Some(DeferredWrite { mark, bytes, waker });
        Poll::Pending
    }
}

impl<T: Read + Unpin, B: PreWriteHook> Read for CoalescedIo<T, B> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_read(context, buffer)
    }
}

/// Not vectored, so that hyper copies a head and its body into one buffer: separate small writes cost more than the copy
/// (docs/benchmarks/calls.md). Large bodies are split by [`ChunkedBody`].
impl<T: Write + Unpin, B: PreWriteHook> Write for CoalescedIo<T, B> {
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
