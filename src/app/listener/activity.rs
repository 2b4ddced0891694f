//! Whether a connection is in use, so that an idle one can be told from one with a long stream, or with a reader who is slow.
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
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};

use crate::turn::Pieces;

#[derive(Clone, Default)]
pub(super) struct Activity(Arc<Counts>);

#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
    /// Something waits to be written: a body is over when hyper has taken the last of it, which may be long before its reader has.
    unwritten: AtomicBool,
}

impl Activity {
    /// A request has come; it lasts until the result is dropped.
    pub(super) fn begin(&self) -> Active {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Active(self.clone())
    }

    pub(super) fn begun(&self) -> u64 {
        self.0.begun.load(Ordering::Relaxed)
    }

    /// Nothing is under way, and nothing has begun since there were `seen` requests.
    pub(super) fn is_idle_since(&self, seen: u64) -> bool {
        let begun = self.begun();
        begun == seen && self.0.ended.load(Ordering::Relaxed) == begun && !self.0.unwritten.load(Ordering::Relaxed)
    }

    /// The connection, whose writes count as activity until they are done.
    pub(super) fn watch<T>(&self, connection: T) -> WatchedWrites<T> {
        WatchedWrites {
            connection,
            activity: self.clone(),
        }
    }
}

/// A request under way, its response's body included.
pub(super) struct Active(Activity);

impl Active {
    pub(super) fn watch(self, body: Body) -> WatchedBody {
        WatchedBody {
            body: Pieces::new(body),
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
    body: Pieces<Body>,
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

/// A connection that notes when it has to wait before it can write.
pub(super) struct WatchedWrites<T> {
    connection: T,
    activity: Activity,
}

impl<T> WatchedWrites<T> {
    fn note<R>(&self, written: Poll<R>) -> Poll<R> {
        if written.is_pending() {
            self.activity.0.unwritten.store(true, Ordering::Relaxed);
        }
        written
    }
}

impl<T: Read + Unpin> Read for WatchedWrites<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_read(context, buffer)
    }
}

impl<T: Write + Unpin> Write for WatchedWrites<T> {
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
    use super::Activity;
    use axum::body::Body;
    use hyper::rt::Write;
    use std::{
        io,
        pin::Pin,
        task::{Context, Poll, Waker},
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
        let activity = Activity::default();
        let mut connection = activity.watch(Socket(false));
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
        let activity = Activity::default();
        assert!(activity.is_idle_since(0));
        let active = activity.begin();
        assert!(!activity.is_idle_since(1));
        let body = active.watch(Body::empty());
        assert!(!activity.is_idle_since(1));
        drop(body);
        assert!(activity.is_idle_since(1) && !activity.is_idle_since(0));
    }
}
