use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use hyper::rt::Write;
use tokio::task::LocalSet;

use super::{GATHERED, PATIENCE, PROBE, Turn};

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
                let _ = Pin::new(&mut Turn::new(Sink, ())).poll_write(&mut Context::from_waker(Waker::noop()), b"x");
            }
            let polled = Pin::new(&mut connection).poll_write(&mut Context::from_waker(Waker::noop()), b"x");
            assert!(polled.is_ready());
            connection
        });
        connection = moved.join().unwrap();
        connection.waits_since = since;
    }
}

/// Takes at most so many bytes of each write, and keeps what came in one piece and what in several.
#[derive(Default)]
struct Pieces {
    most: usize,
    whole: Vec<Vec<u8>>,
    several: Vec<usize>,
}

impl Write for Pieces {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = bytes.len().min(self.most);
        self.whole.push(bytes[..taken].to_vec());
        Poll::Ready(Ok(taken))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.several.push(pieces.len());
        Poll::Ready(Ok(pieces.iter().map(|piece| piece.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn write_pieces(connection: &mut Turn<Pieces>, pieces: &[&[u8]]) -> usize {
    let pieces: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let context = &mut Context::from_waker(Waker::noop());
    // It may wait for its turn, once.
    for _ in 0..2 {
        if let Poll::Ready(written) = Pin::new(&mut *connection).poll_write_vectored(context, &pieces) {
            return written.unwrap();
        }
    }
    panic!("waits twice");
}

#[test]
fn small_pieces_are_written_as_one_and_large_ones_are_not_copied() {
    let mut connection = Turn::new(
        Pieces {
            most: usize::MAX,
            ..Pieces::default()
        },
        (),
    );
    assert_eq!(write_pieces(&mut connection, &[b"head", b"", b"body"]), 8);
    assert_eq!(write_pieces(&mut connection, &[b"next"]), 4);
    let all = vec![b'x'; GATHERED];
    assert_eq!(write_pieces(&mut connection, &[&all[..1], &all[1..]]), GATHERED);
    assert_eq!(write_pieces(&mut connection, &[b"head", &all]), 4 + GATHERED);
    let Pieces { whole, several, .. } = connection.connection;
    assert_eq!(whole, [b"headbody".to_vec(), b"next".to_vec(), all]);
    assert_eq!(several, [2]);
}

#[test]
fn what_was_not_taken_is_told() {
    let mut connection = Turn::new(
        Pieces {
            most: 6,
            ..Pieces::default()
        },
        (),
    );
    assert_eq!(write_pieces(&mut connection, &[b"head", b"body"]), 6);
    assert_eq!(connection.connection.whole, [b"headbo".to_vec()]);
}
