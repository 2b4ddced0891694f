//! Tracks whether a connection is in use, to distinguish an idle one from one with a long stream or a slow reader.
//!
//! hyper's own header timeout also runs between requests, and sets a timer for each; this costs a few atomic operations.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::time::{Sleep, sleep};

use concurrency::write_coalescing::ChunkedBody;

#[derive(Clone, Default)]
pub(super) struct ConnectionActivity(Arc<Counts>);

#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
    /// Bytes wait to be written: hyper may take the last of a body long before the client does.
    unwritten: AtomicBool,
    /// Another connection has taken its slot.
    is_displaced: AtomicBool,
}

impl ConnectionActivity {
    /// Begins a request, which ends when the result is dropped.
    pub(super) fn begin(&self) -> Active {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Active(self.clone())
    }

    pub(super) fn begun(&self) -> u64 {
        self.0.begun.load(Ordering::Relaxed)
    }

    /// Whether no request is in flight, and none has begun since there were `seen` requests.
    pub(super) fn is_idle_since(&self, seen: u64) -> bool {
        let begun = self.begun();
        begun == seen && self.0.ended.load(Ordering::Relaxed) == begun && !self.0.unwritten.load(Ordering::Relaxed)
    }

    /// Whether no request is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.is_idle_since(self.begun())
    }

    /// Marks the connection as displaced: it closes unless it is in use.
    pub(super) fn displace(&self) {
        self.0.is_displaced.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_displaced(&self) -> bool {
        self.0.is_displaced.load(Ordering::Relaxed)
    }

    /// Whether no request is in flight, so that bytes read belong to the next request's head.
    fn is_between(&self, begun: u64) -> bool {
        self.0.ended.load(Ordering::Relaxed) == begun
    }

    /// Wraps a connection: pending writes count as activity, and each request head has to arrive within `head_timeout`.
    pub(super) fn watch<T>(&self, connection: T, head_timeout: Duration) -> WatchedIo<T> {
        WatchedIo {
            connection,
            activity: self.clone(),
            head: Head {
                timeout: head_timeout,
                begun: 0,
                has_arrived: false,
                timer: None,
            },
        }
    }
}

/// A request in flight, including its response body.
pub(super) struct Active(ConnectionActivity);

impl Active {
    pub(super) fn watch(self, body: Body) -> WatchedBody {
        WatchedBody {
            body: ChunkedBody::new(body),
            _active: self,
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A response body that counts as activity until it is dropped.
pub(super) struct WatchedBody {
    body: ChunkedBody<Body>,
    _active: Active,
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection that notes when it has to wait before it can write, and gives up on a head that does not come to its end.
pub(super) struct WatchedIo<T> {
    connection: T,
    activity: ConnectionActivity,
    head: Head,
}

/// A request's head on its way. Most come in one piece, and set no timer.
struct Head {
    timeout: Duration,
    /// How many requests had begun before it.
    begun: u64,
    /// Some of it has come.
    has_arrived: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Head {
    /// To be told of every look for more bytes; an error once the time for this head is over.
    fn note_read(&mut self, activity: &ConnectionActivity, context: &mut Context<'_>, found: bool) -> io::Result<()> {
        let begun = activity.begun();
        if self.begun != begun {
            (self.begun, self.has_arrived, self.timer) = (begun, false, None);
        }
        // What comes during a request is its body, or is looked at after it.
        if !activity.is_between(begun) {
            return Ok(());
        }
        if found {
            self.has_arrived = true;
            return Ok(());
        }
        if !self.has_arrived {
            return Ok(());
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.timeout)));
        match timer.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl<T> WatchedIo<T> {
    fn note<R>(&self, written: Poll<R>) -> Poll<R> {
        if written.is_pending() {
            self.activity.0.unwritten.store(true, Ordering::Relaxed);
        }
        written
    }
}

impl<T: Read + Unpin> Read for WatchedIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let read = Pin::new(&mut this.connection).poll_read(context, buffer);
        this.head.note_read(&this.activity, context, read.is_ready())?;
        read
    }
}

impl<T: Write + Unpin> Write for WatchedIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.connection).poll_write(context, bytes);
        self.note(written)
    }

    /// hyper asks for it once it has written all that it holds.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.activity.0.unwritten.store(false, Ordering::Relaxed);
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::ConnectionActivity;
    use axum::body::Body;
    use futures_util::FutureExt as _;
    use hyper::rt::Write;
    use std::{
        io,
        pin::Pin,
        task::{Context, Poll, Waker},
        time::Duration,
    };

    /// Takes nothing until told otherwise.
    struct Socket(bool);

    impl Write for Socket {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            if self.0 {
                Poll::Ready(Ok(bytes.len()))
            } else {
                Poll::Pending
            }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_waits_to_be_written_is_activity_until_all_is_written() {
        let activity = ConnectionActivity::default();
        let mut connection = activity.watch(Socket(false), Duration::from_secs(1));
        let context = &mut Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut connection).poll_write(context, b"x").is_pending());
        assert!(!activity.is_idle_since(0));
        connection.connection.0 = true;
        assert!(Pin::new(&mut connection).poll_write(context, b"x").is_ready());
        assert!(!activity.is_idle_since(0), "there may be more");
        assert!(Pin::new(&mut connection).poll_flush(context).is_ready());
        assert!(activity.is_idle_since(0));
    }

    #[test]
    fn a_stream_is_activity_until_its_body_is_gone() {
        let activity = ConnectionActivity::default();
        assert!(activity.is_idle_since(0));
        let active = activity.begin();
        assert!(!activity.is_idle_since(1));
        let body = active.watch(Body::empty());
        assert!(!activity.is_idle_since(1));
        drop(body);
        assert!(activity.is_idle_since(1) && !activity.is_idle_since(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_its_time_from_its_first_byte_and_an_idle_connection_has_none() {
        let activity = ConnectionActivity::default();
        let limit = Duration::from_secs(10);
        let mut head = activity.watch((), limit).head;
        let mut look = |found| {
            std::future::poll_fn(|context| Poll::Ready(head.note_read(&activity, context, found))).now_or_never()
        };
        let mut look = |found| look(found).unwrap();
        for _ in 0..2 {
            // Idle for long, then whole at once.
            look(false).unwrap();
            tokio::time::advance(10 * limit).await;
            look(false).unwrap();
            look(true).unwrap();
            let request = activity.begin();
            tokio::time::advance(10 * limit).await;
            // Of its body.
            look(true).unwrap();
            look(false).unwrap();
            drop(request);
        }
        look(true).unwrap();
        look(false).unwrap();
        tokio::time::advance(limit / 2).await;
        look(true).unwrap();
        look(false).unwrap();
        tokio::time::advance(limit).await;
        look(false).unwrap_err();
    }
}
