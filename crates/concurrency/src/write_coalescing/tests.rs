use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    rt::{Read, ReadBufCursor, Write},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::LocalSet,
};

use super::{ChunkedBody, CoalescedIo, MAX_BUFFERED_BYTES, PROBE, PreWriteHook, QUIET_AFTER};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Worked,
    Wrote,
}

/// Accepts every write and records the order of steps.
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

async fn write(connection: &mut CoalescedIo<Connection>, waits: &Cell<u32>) {
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
            let mut connection = CoalescedIo::new(Connection(Rc::clone(&steps)), ());
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
    let mut connection = CoalescedIo::new(Connection(Rc::default()), ());
    for _ in 0..count {
        write(&mut connection, &waits).await;
    }
    waits.get()
}

#[tokio::test]
async fn what_is_ready_together_is_written_in_a_row() {
    LocalSet::new()
        .run_until(async {
            // The first round measures that other connections are ready.
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
            assert!(alone(1_000).await <= QUIET_AFTER + 1_000 / (PROBE - 1) + 1);
        })
        .await;
}

#[tokio::test]
async fn a_write_yields_at_most_once() {
    LocalSet::new()
        .run_until(async {
            together(10).await;
            let waits = Cell::default();
            let mut connection = CoalescedIo::new(Connection(Rc::default()), ());
            for write_number in 1..=QUIET_AFTER / 2 {
                write(&mut connection, &waits).await;
                assert_eq!(waits.get(), write_number);
            }
        })
        .await;
}

/// Accepts every write, on any thread.
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
fn a_connection_may_yield_on_one_thread_and_write_on_another() {
    let mut context = Context::from_waker(Waker::noop());
    let mut connection = CoalescedIo::new(Sink, ());
    let mut tries = 0;
    while Pin::new(&mut connection).poll_write(&mut context, b"x").is_ready() {
        tries += 1;
        assert!(tries < PROBE);
    }
    // On the other thread as many steps have been counted, fewer, or none.
    for before in [tries, 1, 0] {
        let since = connection.yielded_at;
        let moved = std::thread::spawn(move || {
            for _ in 0..before {
                let _ =
                    Pin::new(&mut CoalescedIo::new(Sink, ())).poll_write(&mut Context::from_waker(Waker::noop()), b"x");
            }
            let polled = Pin::new(&mut connection).poll_write(&mut Context::from_waker(Waker::noop()), b"x");
            assert!(polled.is_ready());
            connection
        });
        connection = moved.join().unwrap();
        connection.yielded_at = since;
    }
}

/// One end of an in-memory connection that records the size of each write.
struct Noting(TokioIo<DuplexStream>, Arc<Mutex<Vec<usize>>>);

impl Read for Noting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Noting {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.1.lock().unwrap().push(bytes.len());
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// Sizes of the writes with which hyper sends a response of `length` bytes.
async fn answered_with(length: usize) -> Vec<usize> {
    let (mut client, server) = tokio::io::duplex(16 << 20);
    let written = Arc::<Mutex<Vec<usize>>>::default();
    let connection = CoalescedIo::new(Noting(TokioIo::new(server), Arc::clone(&written)), ());
    let service = service_fn(move |_: Request<Incoming>| async move {
        let body = ChunkedBody::new(Full::new(Bytes::from(vec![b'x'; length])));
        Ok::<_, Infallible>(Response::new(body))
    });
    let serving = http1::Builder::new()
        .max_buf_size(MAX_BUFFERED_BYTES)
        .serve_connection(connection, service);
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    serving.await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert!(answer.ends_with(&vec![b'x'; length]) && answer.len() > length);
    let written = written.lock().unwrap();
    assert_eq!(written.iter().sum::<usize>(), answer.len());
    written.clone()
}

#[tokio::test]
async fn a_small_answer_is_one_write_and_a_large_one_is_never_gathered() {
    assert_eq!(answered_with(5).await.len(), 1);
    let pieces = answered_with(4 << 20).await;
    assert!(
        pieces.iter().all(|piece| *piece < MAX_BUFFERED_BYTES * 5 / 4),
        "{pieces:?}"
    );
}

struct IgnoredWake;

impl Wake for IgnoredWake {
    fn wake(self: Arc<Self>) {}
}

/// A condition that the test fulfils.
#[derive(Clone, Default)]
struct TestHook(Arc<Mutex<(u64, u64, Vec<Waker>)>>);

impl PreWriteHook for TestHook {
    fn mark(&self) -> Option<u64> {
        let (wanted, done, _) = &*self.0.lock().unwrap();
        (done < wanted).then_some(*wanted)
    }

    fn is_done(&self, mark: u64) -> bool {
        self.0.lock().unwrap().1 >= mark
    }

    fn wake_when_done(&self, mark: u64, waker: &Waker) -> bool {
        let (_, done, wakers) = &mut *self.0.lock().unwrap();
        let waits = *done < mark;
        if waits {
            wakers.push(waker.clone());
        }
        waits
    }
}

#[test]
fn bytes_wait_for_their_own_mark_and_no_later_one() {
    let hook = TestHook::default();
    // The same waker for every poll, as within one task.
    let waker = Waker::from(Arc::new(IgnoredWake));
    let mut context = Context::from_waker(&waker);
    let mut connection = CoalescedIo::new(Sink, hook.clone());
    let mut write = |bytes: &[u8]| match Pin::new(&mut connection).poll_write(&mut context, bytes) {
        Poll::Ready(written) => Some(written.unwrap()),
        Poll::Pending => None,
    };
    let mut written = |bytes: &[u8]| write(bytes).or_else(|| write(bytes));
    assert_eq!(written(b"abc"), Some(3));
    hook.0.lock().unwrap().0 = 1;
    assert_eq!(written(b"abc"), None);
    assert_eq!(written(b"abc"), None);
    assert_eq!(hook.0.lock().unwrap().2.len(), 1, "registered once");
    // The mark rises, and more bytes come, which must wait for it.
    hook.0.lock().unwrap().0 = 2;
    hook.0.lock().unwrap().1 = 1;
    assert_eq!(written(b"abcde"), Some(3));
    assert_eq!(written(b"de"), None);
    hook.0.lock().unwrap().1 = 2;
    assert_eq!(written(b"de"), Some(2));
}
