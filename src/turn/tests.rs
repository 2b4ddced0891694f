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

use super::{BeforeWrite, MAX_BUFFERED_BYTES, PROBE, Pieces, QUIET_AFTER, Turn};

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
            assert!(alone(1_000).await <= QUIET_AFTER + 1_000 / (PROBE - 1) + 1);
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
            for write_number in 1..=QUIET_AFTER / 2 {
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

/// One end of a connection in memory, which notes how much it was given at a time.
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

/// What hyper writes at a time to answer with so many bytes.
async fn answered_with(length: usize) -> Vec<usize> {
    let (mut client, server) = tokio::io::duplex(16 << 20);
    let written = Arc::<Mutex<Vec<usize>>>::default();
    let connection = Turn::new(Noting(TokioIo::new(server), Arc::clone(&written)), ());
    let service = service_fn(move |_: Request<Incoming>| async move {
        let body = Pieces::new(Full::new(Bytes::from(vec![b'x'; length])));
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

struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

/// What has to happen happens when the test says so.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<(u64, u64, Vec<Waker>)>>);

impl BeforeWrite for Told {
    fn mark(&self) -> Option<u64> {
        let (told, done, _) = &*self.0.lock().unwrap();
        (done < told).then_some(*told)
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
fn bytes_wait_for_what_was_told_before_them_and_for_no_more() {
    let told = Told::default();
    // As a task's, all of which are the same.
    let waker = Waker::from(Arc::new(Nobody));
    let mut context = Context::from_waker(&waker);
    let mut connection = Turn::new(Sink, told.clone());
    let mut write = |bytes: &[u8]| match Pin::new(&mut connection).poll_write(&mut context, bytes) {
        Poll::Ready(written) => Some(written.unwrap()),
        Poll::Pending => None,
    };
    let mut written = |bytes: &[u8]| write(bytes).or_else(|| write(bytes));
    assert_eq!(written(b"abc"), Some(3));
    told.0.lock().unwrap().0 = 1;
    assert_eq!(written(b"abc"), None);
    assert_eq!(written(b"abc"), None);
    assert_eq!(told.0.lock().unwrap().2.len(), 1, "told of once");
    // More is told, and more bytes come, which are not to go before it.
    told.0.lock().unwrap().0 = 2;
    told.0.lock().unwrap().1 = 1;
    assert_eq!(written(b"abcde"), Some(3));
    assert_eq!(written(b"de"), None);
    told.0.lock().unwrap().1 = 2;
    assert_eq!(written(b"de"), Some(2));
}
