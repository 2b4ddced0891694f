//! Connections to one upstream, kept open between calls.
//!
//! hyper's own pooled client serves any number of hosts: it clones its settings and the address for each request, and spawns
//! a task for each connection and after each answer. This one knows a single host, gets a connection back from whoever has
//! read the answer to its end, and spawns nothing.

use std::{
    collections::VecDeque,
    error::Error,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Response, Uri};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1,
};
use tower::Service;

use super::{
    connect::TimedConnector,
    wire::{Sent, Wire},
};
use crate::turn::{MOST_BUFFERED, Turn};

/// Idle connections kept, and for how long: below the 60 s after which common servers close theirs.
const MOST_IDLE: usize = 512;
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// Far below the idle timeouts of common servers, which are seconds: what was used more recently is not looked at first.
const LONG_IDLE: Duration = Duration::from_millis(50);
/// Connections whose answer is about to end, how long they have for it, and how many are looked at for each call.
const MOST_ENDING: usize = 64;
const ENDING: Duration = Duration::from_millis(500);
const LOOKED_AT: usize = 4;

/// Why there is no head of an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("no connection")]
    Connect(#[source] Box<dyn Error + Send + Sync>),
    #[error("the connection failed")]
    Exchange(#[from] hyper::Error),
}

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    connector: TimedConnector,
    /// Scheme and authority.
    origin: Uri,
    /// The most recently used last.
    idle: Mutex<VecDeque<Idle>>,
    ending: Mutex<VecDeque<Ending>>,
}

/// An answer that nobody waits for any more, since all that matters of it has come.
struct Ending {
    body: AnswerBody,
    since: Instant,
}

struct Idle {
    wire: Box<Wire>,
    since: Instant,
}

/// The body of an answer, with the connection that it comes on. Dropping it before the answer's end closes the connection,
/// which is how an upstream learns that nobody wants the rest.
pub(super) struct AnswerBody {
    body: Incoming,
    wire: Box<Wire>,
    pool: Pool,
}

impl AnswerBody {
    /// The answer has been read to its end: the connection may be used again.
    pub(super) fn give_back(self) {
        let now = Instant::now();
        self.give_back_idle_since(now, now);
    }

    fn give_back_idle_since(self, since: Instant, now: Instant) {
        let Self { mut wire, pool, .. } = self;
        // One that still sends what nobody reads any more would stand still in the pool.
        if !wire.is_ready() && !wire.settles() {
            return;
        }
        wire.rest();
        let mut idle = pool.idle();
        let old = idle.iter().take_while(|one| now > one.since + IDLE_TIMEOUT).count();
        let too_many = (idle.len() + 1).saturating_sub(MOST_IDLE);
        let gone: Vec<_> = idle.drain(..old.max(too_many)).collect();
        idle.push_back(Idle { wire, since });
        drop(idle);
        // Closing sockets is not to hold up others.
        drop(gone);
    }

    /// All that matters of the answer has come; its end follows in the next packet, if not in the same. Closing the
    /// connection for that would cost the next call a new one. Nobody waits: later calls look whether it has come.
    pub(super) fn give_back_at_end(self) {
        let pool = self.pool.clone();
        let ending = Ending {
            body: self,
            since: Instant::now(),
        };
        let Some(ending) = ending.settle() else { return };
        let mut all = pool.ending();
        let too_many = if all.len() < MOST_ENDING { None } else { all.pop_front() };
        all.push_back(ending);
        drop(all);
        drop(too_many);
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { body, wire, .. } = &mut *self;
        wire.poll_frame(body, context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Ending {
    /// Gives the connection back if the answer has ended, and closes it if it goes on or takes too long.
    fn settle(mut self) -> Option<Self> {
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.body).poll_frame(&mut context) {
            // From the last event on, however much later this is noticed: it grows old like any other.
            Poll::Ready(None) => self.body.give_back_idle_since(self.since, Instant::now()),
            Poll::Pending if self.since.elapsed() < ENDING => return Some(self),
            Poll::Pending | Poll::Ready(Some(_)) => {}
        }
        None
    }
}

impl Pool {
    pub(super) fn new(connector: TimedConnector, origin: Uri) -> Self {
        Self(Arc::new(Shared {
            connector,
            origin,
            idle: Mutex::default(),
            ending: Mutex::default(),
        }))
    }

    /// Sends one request, with a path as its target, and waits for the head of the answer. A request that an idle connection
    /// did not take any more, because the upstream was closing it, goes out on another; none is sent twice.
    pub(super) async fn send(&self, mut request: Sent) -> Result<Response<AnswerBody>, SendError> {
        let mut has_looked = false;
        loop {
            let (mut wire, is_reused) = match self.take(&mut has_looked).await {
                Some(wire) => (wire, true),
                // A box of its own: most calls never carry it.
                None => (Box::pin(self.connect()).await?, false),
            };
            match wire.send(request).await {
                Ok(response) => {
                    let pool = self.clone();
                    return Ok(response.map(|body| AnswerBody { body, wire, pool }));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if is_reused => request = unsent,
                    _ => return Err(error.into_error().into()),
                },
            }
        }
    }

    /// An idle connection that may still be good: whether it is shows when it is sent something.
    async fn take(&self, has_looked: &mut bool) -> Option<Box<Wire>> {
        self.settle();
        loop {
            let Idle { mut wire, since } = self.idle().pop_back()?;
            let idle_for = since.elapsed();
            if wire.is_closed() || idle_for > IDLE_TIMEOUT {
                continue;
            }
            if idle_for > LONG_IDLE {
                if !std::mem::replace(has_looked, true) {
                    // Lets the runtime look at its sockets, so that one that the upstream has closed is found out.
                    tokio::task::yield_now().await;
                }
                if !wire.settles() {
                    continue;
                }
            }
            return Some(wire);
        }
    }

    /// Looks after those whose answer was about to end.
    fn settle(&self) {
        let some: Vec<_> = {
            let mut ending = self.ending();
            let count = ending.len().min(LOOKED_AT);
            ending.drain(..count).collect()
        };
        let unsettled: Vec<_> = some.into_iter().filter_map(Ending::settle).collect();
        if !unsettled.is_empty() {
            self.ending().extend(unsettled);
        }
    }

    async fn connect(&self) -> Result<Box<Wire>, SendError> {
        let mut connector = self.0.connector.clone();
        let stream = connector
            .call(self.0.origin.clone())
            .await
            .map_err(SendError::Connect)?;
        let (sender, carrier) = http1::Builder::new()
            .max_buf_size(MOST_BUFFERED)
            .handshake(Turn::new(stream, ()))
            .await?;
        Ok(Box::new(Wire::new(sender, carrier)))
    }

    fn ending(&self) -> MutexGuard<'_, VecDeque<Ending>> {
        self.0.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
