//! A connection that can be read to its end though it takes no more bytes.
//!
//! A server that refuses a request by its head, its length say, may answer and close before it has read the body (RFC 9112 9.3 allows
//! it). What is written then fails, and hyper ends a connection at the first failure of either side: the answer, which has arrived by
//! then, would be lost.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::rt::{Read, ReadBufCursor, Write};

/// Once a write has failed, what is written goes nowhere and counts as written: reading shows whether there is an answer, or how the connection
/// ended.
pub(super) struct ReadOn<T> {
    connection: T,
    is_broken: bool,
}

impl<T> ReadOn<T> {
    pub(super) fn new(connection: T) -> Self {
        Self {
            connection,
            is_broken: false,
        }
    }

    /// `done` in place of a failure, from the first on.
    fn unless_broken<R>(
        &mut self,
        done: R,
        write: impl FnOnce(Pin<&mut T>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>>
    where
        T: Unpin,
    {
        if !self.is_broken {
            match ready!(write(Pin::new(&mut self.connection))) {
                Ok(result) => return Poll::Ready(Ok(result)),
                Err(_) => self.is_broken = true,
            }
        }
        Poll::Ready(Ok(done))
    }
}

impl<T: Read + Unpin> Read for ReadOn<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_read(context, buffer)
    }
}

impl<T: Write + Unpin> Write for ReadOn<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.unless_broken(bytes.len(), |connection| connection.poll_write(context, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unless_broken((), |connection| connection.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unless_broken((), |connection| connection.poll_shutdown(context))
    }
}
