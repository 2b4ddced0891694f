//! Connections to one upstream, kept open between calls.
//!
//! hyper's own pooled client serves any number of hosts: it clones its settings and the address for each request, and spawns
//! a task for each connection and after each response. This pool serves a single host, gets a connection back when its response
//! has been read to the end, and spawns nothing.

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
    upstream_connection::{Sent, UpstreamConnection},
};
use crate::SentMark;
pub(super) use answer::AnswerBody;
use answer::DrainingBody;
use concurrency::write_coalescing::{CoalescedIo, MAX_BUFFERED_BYTES};

/// Idle connections kept.
const MAX_IDLE: usize = 512;
/// Connections idle for longer are polled before use. Far below the idle timeouts of common servers, which are seconds.
const LONG_IDLE: Duration = Duration::from_millis(50);
/// Connections whose response is about to end: how many at most, for how long, and how many of them each call polls.
const MAX_DRAINING: usize = 64;
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);
const DRAINED_PER_CALL: usize = 4;

/// Why a request got no response head.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("no connection")]
    Connect(#[source] Box<dyn Error + Send + Sync>),
    #[error("the connection failed")]
    Exchange(#[from] hyper::Error),
    /// A reused connection ended without a byte of a response.
    #[error("the connection had been closed")]
    Dropped(#[source] hyper::Error),
}

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Pool(Arc<PoolInner>);

struct PoolInner {
    connector: TimedConnector,
    /// Scheme and authority.
    origin: Uri,
    /// An unused connection is kept for so long.
    idle_timeout: Duration,
    /// An older connection takes no further request, so that a changed DNS entry takes effect.
    max_age: Duration,
    /// Ordered by last use, the most recent at the back.
    idle: Mutex<VecDeque<Idle>>,
    draining: Mutex<VecDeque<DrainingBody>>,
}

struct Idle {
    connection: Box<UpstreamConnection>,
    since: Instant,
}

impl Pool {
    pub(super) fn new(connector: TimedConnector, origin: Uri, idle_timeout: Duration, max_age: Duration) -> Self {
        Self(Arc::new(PoolInner {
            connector,
            origin,
            idle_timeout,
            max_age,
            idle: Mutex::default(),
            draining: Mutex::default(),
        }))
    }

    /// Sends one request, with a path as its target, and waits for the response head. A request that an idle connection did not
    /// accept any more, because the upstream was closing it, goes out on another; no request is sent twice here.
    pub(super) async fn send(&self, mut request: Sent, mark: &SentMark) -> Result<Response<AnswerBody>, SendError> {
        let mut has_looked = false;
        loop {
            let (mut connection, is_reused) = match self.take(&mut has_looked).await {
                Some(connection) => (connection, true),
                // A box of its own: most calls never carry it.
                None => (Box::pin(self.connect()).await?, false),
            };
            mark.set();
            match connection.send(request).await {
                Ok(response) => {
                    let pool = self.clone();
                    return Ok(response.map(|body| AnswerBody { body, connection, pool }));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if is_reused => request = unsent,
                    None if is_reused && connection.has_died_unanswered() => {
                        return Err(SendError::Dropped(error.into_error()));
                    }
                    _ => return Err(error.into_error().into()),
                },
            }
        }
    }

    /// The same on a new connection.
    pub(super) async fn send_anew(&self, request: Sent) -> Result<Response<AnswerBody>, SendError> {
        let mut connection = self.connect().await?;
        match connection.send(request).await {
            Ok(response) => {
                let pool = self.clone();
                Ok(response.map(|body| AnswerBody { body, connection, pool }))
            }
            Err(error) => Err(error.into_error().into()),
        }
    }

    /// An idle connection that is probably still open; sending shows whether it is.
    async fn take(&self, has_looked: &mut bool) -> Option<Box<UpstreamConnection>> {
        self.poll_draining();
        loop {
            let Idle { mut connection, since } = self.idle().pop_back()?;
            let idle_for = since.elapsed();
            if connection.is_closed()
                || idle_for > self.0.idle_timeout
                || connection.is_older_than(self.0.max_age, since + idle_for)
            {
                continue;
            }
            if idle_for > LONG_IDLE {
                if !std::mem::replace(has_looked, true) {
                    // Lets the runtime poll its sockets, so that a connection closed by the upstream is detected.
                    tokio::task::yield_now().await;
                }
                if !connection.poll_idle() {
                    continue;
                }
            }
            return Some(connection);
        }
    }

    /// Polls some of the connections whose response was about to end.
    fn poll_draining(&self) {
        let some: Vec<_> = {
            let mut draining = self.draining();
            let count = draining.len().min(DRAINED_PER_CALL);
            draining.drain(..count).collect()
        };
        let still_draining: Vec<_> = some.into_iter().filter_map(DrainingBody::poll_drained).collect();
        if !still_draining.is_empty() {
            self.draining().extend(still_draining);
        }
    }

    async fn connect(&self) -> Result<Box<UpstreamConnection>, SendError> {
        let mut connector = self.0.connector.clone();
        let stream = connector
            .call(self.0.origin.clone())
            .await
            .map_err(SendError::Connect)?;
        let (sender, http1) = http1::Builder::new()
            .max_buf_size(MAX_BUFFERED_BYTES)
            .handshake(CoalescedIo::new(ReadOn::new(stream), ()))
            .await?;
        Ok(Box::new(UpstreamConnection::new(sender, http1)))
    }

    fn draining(&self) -> MutexGuard<'_, VecDeque<DrainingBody>> {
        self.0.draining.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
