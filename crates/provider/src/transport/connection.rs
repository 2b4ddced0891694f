//! A connection as hyper reads and writes it: coalesced writes, answers read past a failed write, and word of a connection that died
//! with a request unanswered.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
};

use super::read_on::ReadOn;
use concurrency::write_coalescing::CoalescedIo;

/// TLS to the provider, around TLS to a proxy, each where there is any.
pub(super) type Stream = MaybeHttpsStream<ProxyStream>;
pub(super) type ProxyStream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// A connection that waits for its first request for longer was opened for another one, and has been idle in the pool.
const LONG_IDLE: Duration = Duration::from_millis(100);

/// A connection that had been idle ended without a byte of an answer: most likely the server closed it as idle while the request was
/// on its way.
#[derive(Debug, thiserror::Error)]
#[error("the connection had been closed")]
pub(super) struct ClosedUnanswered(#[source] io::Error);

/// One connection of the pool, which counts against the bound until it is dropped.
pub(super) struct UpstreamConnection {
    io: TokioIo<Watched<TokioIo<CoalescedIo<ReadOn<Stream>>>>>,
    is_h2: bool,
    is_forwarded: bool,
    _permit: OwnedSemaphorePermit,
}

impl UpstreamConnection {
    /// `is_forwarded` where a proxy reads requests and makes them in our place.
    pub(super) fn new(stream: Stream, is_forwarded: bool, permit: OwnedSemaphorePermit) -> Self {
        let is_h2 = stream.connected().is_negotiated_h2();
        let coalesced = CoalescedIo::new(ReadOn::new(stream), ());
        Self {
            io: TokioIo::new(Watched::new(TokioIo::new(coalesced))),
            is_h2,
            is_forwarded,
            _permit: permit,
        }
    }
}

impl Connection for UpstreamConnection {
    fn connected(&self) -> Connected {
        let connected = Connected::new().proxy(self.is_forwarded);
        if self.is_h2 {
            connected.negotiated_h2()
        } else {
            connected
        }
    }
}

impl Read for UpstreamConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for UpstreamConnection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// Turns the end of a connection that had been idle into [`ClosedUnanswered`] where its last request has had no byte of an answer. hyper's own error
/// does not tell whether part of an answer had come. Of HTTP/2 it sees no request, for there the protocol tells.
struct Watched<T> {
    io: T,
    opened: Instant,
    has_been_used: bool,
    /// Of the last request: it has had no byte of an answer.
    is_unanswered: bool,
    /// And before it the connection was idle.
    was_idle: bool,
}

impl<T> Watched<T> {
    fn new(io: T) -> Self {
        Self {
            io,
            opened: Instant::now(),
            has_been_used: false,
            is_unanswered: false,
            was_idle: false,
        }
    }

    fn is_closed_unanswered(&self) -> bool {
        self.is_unanswered && self.was_idle
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.io).poll_read(context, buffer));
        let error = match read {
            Ok(()) if buffer.filled().len() > before => {
                self.is_unanswered = false;
                return Poll::Ready(Ok(()));
            }
            Ok(()) if self.is_closed_unanswered() => io::ErrorKind::UnexpectedEof.into(),
            Err(error) if self.is_closed_unanswered() => error,
            ended => return Poll::Ready(ended),
        };
        Poll::Ready(Err(io::Error::new(error.kind(), ClosedUnanswered(error))))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    /// A request begins with its method, and hyper writes none before the last answer is complete. Other bytes after some of an answer are
    /// the rest of a body, and the answer is one that came before it.
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.is_unanswered && (bytes.starts_with(b"POST ") || bytes.starts_with(b"GET ")) {
            self.was_idle = self.has_been_used || self.opened.elapsed() > LONG_IDLE;
            self.has_been_used = true;
            self.is_unanswered = true;
        }
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::{io, time::Duration};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::{ClosedUnanswered, LONG_IDLE, Watched};

    /// How reading ends after these writes and answers on a connection that was idle for so long at first.
    async fn end(idle: Duration, exchange: &[(&str, &str)]) -> Result<(), io::Error> {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let mut ours = Watched::new(ours);
        tokio::time::sleep(idle).await;
        for (sent, answer) in exchange {
            ours.write_all(sent.as_bytes()).await.unwrap();
            theirs.write_all(answer.as_bytes()).await.unwrap();
            ours.read_exact(&mut vec![0; answer.len()]).await.unwrap();
        }
        drop(theirs);
        ours.read_u8().await.map(drop)
    }

    #[tokio::test]
    async fn only_a_request_without_a_byte_of_an_answer_on_a_connection_that_was_idle_is_told() {
        const POST: &str = "POST / HTTP/1.1\r\n\r\n";
        let none = Duration::ZERO;
        for (idle, exchange, expected) in [
            (none, &[][..], false),
            (none, &[(POST, "")], false),
            (LONG_IDLE * 2, &[(POST, "")], true),
            (none, &[(POST, "HTTP"), (POST, "")], true),
            (none, &[(POST, "HTTP"), ("GET / HTTP/1.1", ""), ("more", "")], true),
            // Idle, and closed as such.
            (none, &[(POST, "HTTP")], false),
            (none, &[(POST, "HTTP"), (POST, "H")], false),
            // The rest of a body after the first of an answer.
            (none, &[(POST, "HTTP"), (POST, "H"), ("body", "")], false),
        ] {
            let error = end(idle, exchange).await.unwrap_err();
            let inner = error
                .get_ref()
                .map(<dyn std::error::Error + Send + Sync>::is::<ClosedUnanswered>);
            assert_eq!(inner == Some(true), expected, "{idle:?} {exchange:?}: {error:?}");
        }
    }
}
