//! Connections to one upstream, kept open between calls.
//!
//! hyper's own pooled client serves any number of hosts: it clones its settings and the address for each request, and spawns
//! a task for each connection and after each answer. This one knows a single host, gets a connection back from whoever has
//! read the answer to its end, and spawns nothing.

mod answer;

use std::{
    collections::VecDeque,
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http::{Response, Uri};
use hyper::client::conn::http1;
use tower::Service;

use super::{
    connect::TimedConnector,
    read_on::ReadOn,
    wire::{Sent, Wire},
};
use crate::{
    provider::SentMark,
    write_coalescing::{CoalescedIo, MAX_BUFFERED_BYTES},
};
pub(super) use answer::AnswerBody;
use answer::Ending;

/// Idle connections kept.
const MAX_IDLE: usize = 512;
/// Far below the idle timeouts of common servers, which are seconds: what was used more recently is not looked at first.
const LONG_IDLE: Duration = Duration::from_millis(50);
/// Connections whose answer is about to end, how long they have for it, and how many are looked at for each call.
const MAX_DRAINING: usize = 64;
const ENDING: Duration = Duration::from_millis(500);
const LOOKED_AT: usize = 4;

/// Why there is no head of an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("no connection")]
    Connect(#[source] Box<dyn Error + Send + Sync>),
    #[error("the connection failed")]
    Exchange(#[from] hyper::Error),
    /// A connection that had been used before ended without a byte of an answer.
    #[error("the connection had been closed")]
    Dropped(#[source] hyper::Error),
}

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    connector: TimedConnector,
    /// Scheme and authority.
    origin: Uri,
    /// How long a connection is kept that nobody uses.
    idle_timeout: Duration,
    /// A connection that is older takes no further request, so that a name that has moved is followed.
    max_age: Duration,
    /// The most recently used last.
    idle: Mutex<VecDeque<Idle>>,
    ending: Mutex<VecDeque<Ending>>,
}

struct Idle {
    wire: Box<Wire>,
    since: Instant,
}

impl Pool {
    pub(super) fn new(connector: TimedConnector, origin: Uri, idle_timeout: Duration, max_age: Duration) -> Self {
        Self(Arc::new(Shared {
            connector,
            origin,
            idle_timeout,
            max_age,
            idle: Mutex::default(),
            ending: Mutex::default(),
        }))
    }

    /// Sends one request, with a path as its target, and waits for the head of the answer. A request that an idle connection
    /// did not take any more, because the upstream was closing it, goes out on another; none is sent twice here.
    pub(super) async fn send(&self, mut request: Sent, mark: &SentMark) -> Result<Response<AnswerBody>, SendError> {
        let mut has_looked = false;
        loop {
            let (mut wire, is_reused) = match self.take(&mut has_looked).await {
                Some(wire) => (wire, true),
                // A box of its own: most calls never carry it.
                None => (Box::pin(self.connect()).await?, false),
            };
            mark.set();
            match wire.send(request).await {
                Ok(response) => {
                    let pool = self.clone();
                    return Ok(response.map(|body| AnswerBody { body, wire, pool }));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if is_reused => request = unsent,
                    None if is_reused && wire.has_died_unanswered() => {
                        return Err(SendError::Dropped(error.into_error()));
                    }
                    _ => return Err(error.into_error().into()),
                },
            }
        }
    }

    /// The same on a new connection.
    pub(super) async fn send_anew(&self, request: Sent) -> Result<Response<AnswerBody>, SendError> {
        let mut wire = self.connect().await?;
        match wire.send(request).await {
            Ok(response) => {
                let pool = self.clone();
                Ok(response.map(|body| AnswerBody { body, wire, pool }))
            }
            Err(error) => Err(error.into_error().into()),
        }
    }

    /// An idle connection that may still be good: whether it is shows when it is sent something.
    async fn take(&self, has_looked: &mut bool) -> Option<Box<Wire>> {
        self.settle();
        loop {
            let Idle { mut wire, since } = self.idle().pop_back()?;
            let idle_for = since.elapsed();
            if wire.is_closed()
                || idle_for > self.0.idle_timeout
                || wire.is_older_than(self.0.max_age, since + idle_for)
            {
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
            .max_buf_size(MAX_BUFFERED_BYTES)
            .handshake(CoalescedIo::new(ReadOn::new(stream), ()))
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
