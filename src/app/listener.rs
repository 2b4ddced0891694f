//! Accepts connections. The loop is ours rather than axum's for four reasons: no Nagle delay, a limit on slow headers of
//! every request, fairly shared connection slots, and a drain that ends.

mod accepting;
mod activity;
mod connection_slots;
mod refusal;

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use crate::{
    http::service::{Service, routed},
    lifecycle::Lifecycle,
};
pub use accepting::Accept;
use accepting::{Trouble, trouble};
use activity::ConnectionActivity;
use axum::{Router, response::Response};
use concurrency::write_coalescing::{CoalescedIo, MAX_BUFFERED_BYTES, PreWriteHook};
use connection_slots::ConnectionSlots;
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use refusal::Refusals;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// A connection ends if its client accepts no data for this long.
const STALLED_READER: Duration = Duration::from_mins(1);
/// While draining: a connection without a request may still have one on the wire.
const LAST_REQUEST: Duration = Duration::from_secs(1);
/// Pause after an accept that failed because the process or system is out of a resource.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// Limits of the listener.
#[derive(Debug, Clone)]
pub struct ListenerLimits {
    /// For a new connection's first head, and from the first byte of every later head to its end.
    pub header_read_timeout: Duration,
    /// Between requests on a connection that is kept open; it is closed after one to two of these.
    pub idle_timeout: Duration,
    pub max_connections: usize,
    /// Per address (of IPv6: per /64).
    pub max_connections_per_address: usize,
    /// Proxies, which carry connections of many callers: the limit by address does not apply to them.
    pub proxies: Vec<IpNet>,
}

/// The service of a listener.
pub trait Serve: Clone + Send + 'static {
    fn answer(self, request: Request<Incoming>, peer: SocketAddr) -> impl Future<Output = Response> + Send + 'static;
}

impl Serve for Service {
    fn answer(self, request: Request<Incoming>, peer: SocketAddr) -> impl Future<Output = Response> + Send + 'static {
        Self::answer(self, request, peer)
    }
}

impl Serve for Router {
    fn answer(self, request: Request<Incoming>, peer: SocketAddr) -> impl Future<Output = Response> + Send + 'static {
        routed(self, request, peer)
    }
}

/// Serves until accepting is stopped. Open connections are tracked in `lifecycle`.
pub async fn serve(
    listener: impl Accept,
    serving: impl Serve,
    limits: ListenerLimits,
    lifecycle: Lifecycle,
    before_write: impl PreWriteHook + Clone,
) {
    let slots = ConnectionSlots::new(
        limits.max_connections,
        limits.max_connections_per_address,
        limits.proxies.clone(),
    );
    let refusals = Refusals::new();
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            () = lifecycle.stop_accepting.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                failing = false;
                let watched = Watched {
                    activity: ConnectionActivity::default(),
                    // A child token, since checking for the stop takes a lock that all connections would share.
                    stop: lifecycle.stop_accepting.child_token(),
                };
                let slot = match slots.acquire(peer.ip(), &watched.activity, &watched.stop) {
                    Ok(slot) => slot,
                    Err(full) => {
                        refusals.refuse(stream, full, &lifecycle);
                        continue;
                    }
                };
                let connection = connection(
                    stream,
                    peer,
                    serving.clone(),
                    (limits.header_read_timeout, limits.idle_timeout),
                    watched,
                    before_write.clone(),
                );
                lifecycle.connections.spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
            Err(error) if trouble(&error) == Trouble::OneConnection => {
                tracing::debug!(target: "mapleai::http", error = %error, "a connection was gone before it was accepted");
            }
            Err(error) => {
                if !failing {
                    tracing::error!(target: "mapleai::http", error = %error, "cannot accept connections");
                }
                failing = true;
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

/// The state of a connection that is shared with the listener.
struct Watched {
    activity: ConnectionActivity,
    /// Cancelled when the connection must take no more requests, or, if the activity is marked displaced, make room.
    stop: CancellationToken,
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    serving: impl Serve,
    (head_timeout, idle_timeout): (Duration, Duration),
    Watched { activity, stop }: Watched,
    before_write: impl PreWriteHook,
) {
    prepare(&stream);
    let stream = activity.watch(CoalescedIo::new(TokioIo::new(stream), before_write), head_timeout);
    let noted = activity.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let active = noted.begin();
        let serving = serving.clone();
        // Build the future inside the async block; moving it in would store it twice.
        async move { Ok::<_, Infallible>(serving.answer(request, peer).await.map(|body| active.watch(body))) }
    });
    let connection = http1::Builder::new()
        .max_buf_size(MAX_BUFFERED_BYTES)
        .serve_connection(stream, service);
    let mut connection = std::pin::pin!(connection);
    let mut limit = head_timeout;
    let mut draining = false;
    loop {
        let seen = activity.begun();
        tokio::select! {
            ended = connection.as_mut() => return note(ended),
            () = stop.cancelled(), if !draining => {
                // A request that has come meanwhile is answered all the same.
                if activity.is_displaced() && activity.is_idle() {
                    return;
                }
                connection.as_mut().graceful_shutdown();
                draining = true;
                limit = LAST_REQUEST;
            }
            () = tokio::time::sleep(limit) => {
                if activity.is_idle_since(seen) {
                    return;
                }
                limit = if draining { LAST_REQUEST } else { idle_timeout };
            }
        }
    }
}

fn prepare(stream: &TcpStream) {
    // Nagle's algorithm with delayed acknowledgements costs small responses 40 ms on reused connections.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(target: "mapleai::http", error = %error, "cannot set TCP_NODELAY");
    }
    // Gives up a client that has stopped reading or has vanished.
    if let Err(error) = SockRef::from(stream).set_tcp_user_timeout(Some(STALLED_READER)) {
        tracing::debug!(target: "mapleai::http", error = %error, "cannot set TCP_USER_TIMEOUT");
    }
}

/// Clients that disconnect are normal, and not logged for operators.
fn note(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(target: "mapleai::http", error = %error, "connection ended");
    }
}
