//! Connections to one upstream, kept open between calls.
//!
//! hyper's own pooled client serves any number of hosts: it clones its settings and the address for each request, and spawns
//! a task after each answer to wait for the connection. This one knows a single host, and gets a connection back from
//! whoever has read the answer to its end.

use std::{
    collections::VecDeque,
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    rt::Executor,
};
use hyper_util::rt::TokioExecutor;
use tower::Service;

use super::connect::TimedConnector;

/// Idle connections kept, and for how long: below the 60 s after which common servers close theirs.
const MOST_IDLE: usize = 512;
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// For a connection whose last answer was read to its end to notice that itself.
const SETTLING: Duration = Duration::from_millis(20);

type Sender = SendRequest<Full<Bytes>>;

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
}

struct Idle {
    sender: Sender,
    since: Instant,
}

/// The connection that an answer comes on. Dropping it before the answer's end closes the connection, which is how an
/// upstream learns that nobody wants the rest.
pub(super) struct Lease {
    pool: Pool,
    sender: Sender,
}

impl Lease {
    /// The answer has been read to its end: the connection may be used again.
    pub(super) fn give_back(self) {
        if self.sender.is_closed() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.pool.idle();
        while idle.len() >= MOST_IDLE || idle.front().is_some_and(|one| now > one.since + IDLE_TIMEOUT) {
            idle.pop_front();
        }
        idle.push_back(Idle {
            sender: self.sender,
            since: now,
        });
    }
}

impl Pool {
    pub(super) fn new(connector: TimedConnector, origin: Uri) -> Self {
        Self(Arc::new(Shared {
            connector,
            origin,
            idle: Mutex::default(),
        }))
    }

    /// Sends one request, with a path as its target, and waits for the head of the answer. A request that an idle connection
    /// did not take any more, because the upstream was closing it, goes out on another; none is sent twice.
    pub(super) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Lease), SendError> {
        loop {
            let (mut sender, is_reused) = match self.take().await {
                Some(sender) => (sender, true),
                // A box of its own: most calls never carry it.
                None => (Box::pin(self.connect()).await?, false),
            };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    let pool = self.clone();
                    return Ok((response, Lease { pool, sender }));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if is_reused => request = unsent,
                    _ => return Err(error.into_error().into()),
                },
            }
        }
    }

    /// An idle connection that is still good.
    async fn take(&self) -> Option<Sender> {
        loop {
            let Idle { mut sender, since } = self.idle().pop_back()?;
            if sender.is_closed() || since.elapsed() > IDLE_TIMEOUT {
                continue;
            }
            if sender.is_ready() {
                return Some(sender);
            }
            if let Ok(Ok(())) = Box::pin(tokio::time::timeout(SETTLING, sender.ready())).await {
                return Some(sender);
            }
        }
    }

    async fn connect(&self) -> Result<Sender, SendError> {
        let mut connector = self.0.connector.clone();
        let stream = connector
            .call(self.0.origin.clone())
            .await
            .map_err(SendError::Connect)?;
        let (sender, connection) = http1::handshake(stream).await?;
        // It ends with its connection, which ends with its sender.
        TokioExecutor::new().execute(async move {
            // What goes wrong is told to whoever waits for the answer.
            let _ = connection.await;
        });
        Ok(sender)
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
