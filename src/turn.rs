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

use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};

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

impl<T: Write + Unpin, B: BeforeWrite> Write for Turn<T, B> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.has_come(context) {
            return Poll::Pending;
        }
        Pin::new(&mut self.connection).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.has_come(context) {
            return Poll::Pending;
        }
        Pin::new(&mut self.connection).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        future::poll_fn,
        io,
        pin::Pin,
        rc::Rc,
        task::{Context, Poll, Waker},
    };

    use hyper::rt::Write;
    use tokio::task::LocalSet;

    use super::{PATIENCE, PROBE, Turn};

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Step {
        Worked,
        Wrote,
    }

    /// Takes everything, and notes when.
    struct Connection(Rc<RefCell<Vec<Step>>>);

    impl Write for Connection {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.0.borrow_mut().push(Step::Wrote);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    async fn write(connection: &mut Turn<Connection>, waits: &Cell<u32>) {
        let written = poll_fn(|context| {
            let polled = Pin::new(&mut *connection).poll_write(context, b"x");
            waits.set(waits.get() + u32::from(polled.is_pending()));
            polled
        });
        assert_eq!(written.await.unwrap(), 1);
    }

    /// `count` connections that are ready at once work and write; what was done in which order.
    async fn together(count: usize) -> Vec<Step> {
        let steps = Rc::<RefCell<Vec<Step>>>::default();
        let tasks: Vec<_> = (0..count)
            .map(|_| {
                let mut connection = Turn::new(Connection(Rc::clone(&steps)), ());
                tokio::task::spawn_local(async move {
                    connection.connection.0.borrow_mut().push(Step::Worked);
                    write(&mut connection, &Cell::default()).await;
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        steps.take()
    }

    /// One connection writes `count` times; how often it waited.
    async fn alone(count: u32) -> u32 {
        let waits = Cell::default();
        let mut connection = Turn::new(Connection(Rc::default()), ());
        for _ in 0..count {
            write(&mut connection, &waits).await;
        }
        waits.get()
    }

    #[tokio::test]
    async fn what_is_ready_together_is_written_in_a_row() {
        LocalSet::new()
            .run_until(async {
                // In these it is found out that there are many.
                let first = together(10).await;
                assert_eq!(first.len(), 20);
                assert_ne!(first[..10], [Step::Worked; 10]);
                let next = together(10).await;
                assert_eq!(next[..10], [Step::Worked; 10]);
                assert_eq!(next[10..], [Step::Wrote; 10]);
            })
            .await;
    }

    #[tokio::test]
    async fn a_connection_alone_hardly_ever_waits() {
        LocalSet::new()
            .run_until(async {
                assert!(alone(1_000).await <= 1_000 / (PROBE - 1) + 1);
                together(10).await;
                assert!(alone(1_000).await <= PATIENCE + 1_000 / (PROBE - 1) + 1);
            })
            .await;
    }

    #[tokio::test]
    async fn a_write_waits_once_at_most() {
        LocalSet::new()
            .run_until(async {
                together(10).await;
                let waits = Cell::default();
                let mut connection = Turn::new(Connection(Rc::default()), ());
                for write_number in 1..=PATIENCE / 2 {
                    write(&mut connection, &waits).await;
                    assert_eq!(waits.get(), write_number);
                }
            })
            .await;
    }

    /// Takes everything, on any thread.
    struct Sink;

    impl Write for Sink {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_connection_may_begin_to_wait_on_one_thread_and_have_its_turn_on_another() {
        let mut context = Context::from_waker(Waker::noop());
        let mut connection = Turn::new(Sink, ());
        let mut tries = 0;
        while Pin::new(&mut connection).poll_write(&mut context, b"x").is_ready() {
            tries += 1;
            assert!(tries < PROBE);
        }
        // Where as much has been counted, less, and nothing.
        for before in [tries, 1, 0] {
            let since = connection.waits_since;
            let moved = std::thread::spawn(move || {
                for _ in 0..before {
                    let _ =
                        Pin::new(&mut Turn::new(Sink, ())).poll_write(&mut Context::from_waker(Waker::noop()), b"x");
                }
                let polled = Pin::new(&mut connection).poll_write(&mut Context::from_waker(Waker::noop()), b"x");
                assert!(polled.is_ready());
                connection
            });
            connection = moved.join().unwrap();
            connection.waits_since = since;
        }
    }
}
