//! Accepting connections. The loop is ours rather than axum's for three things: no Nagle delay, a limit on slow headers,
//! and a drain that ends.

mod activity;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    http::service::{Service, routed},
    lifecycle::Lifecycle,
    turn::{BeforeWrite, MOST_BUFFERED, Turn},
};
use activity::Activity;
use axum::{Router, response::Response};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// Data that the other end has not taken for this long ends the connection.
const STALLED_READER: Duration = Duration::from_mins(1);
/// While draining: a connection without a request may still have one on the wire.
const LAST_REQUEST: Duration = Duration::from_secs(1);
/// After a failed accept, which means that the process or system is out of something.
const PAUSE: Duration = Duration::from_millis(50);

/// Limits of the listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until the first request's head has come.
    pub header_read_timeout: Duration,
    /// Between requests on a connection that is kept open; it is closed after one to two of these.
    pub idle_timeout: Duration,
    pub max_connections: usize,
}

/// What a listener serves.
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

/// Serves until told to stop accepting. Open connections are tracked in `lifecycle`.
pub async fn serve(
    listener: TcpListener,
    serving: impl Serve,
    limits: Limits,
    lifecycle: Lifecycle,
    before_write: impl BeforeWrite + Clone,
) {
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let mut failing = false;
    loop {
        let place = tokio::select! {
            () = lifecycle.stop_accepting.cancelled() => return,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = lifecycle.stop_accepting.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                failing = false;
                let connection = connection(
                    stream,
                    peer,
                    serving.clone(),
                    limits,
                    lifecycle.clone(),
                    before_write.clone(),
                );
                lifecycle.connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                if !failing {
                    tracing::error!(target: "mapleai::http", error = %error, "cannot accept connections");
                }
                failing = true;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    serving: impl Serve,
    limits: Limits,
    lifecycle: Lifecycle,
    before_write: impl BeforeWrite,
) {
    prepare(&stream);
    let activity = Activity::default();
    let stream = activity.watch(Turn::new(TokioIo::new(stream), before_write));
    let noted = activity.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let active = noted.begin();
        let serving = serving.clone();
        // Made in there, not handed over: it is large, and would be in there twice.
        async move { Ok::<_, Infallible>(serving.answer(request, peer).await.map(|body| active.watch(body))) }
    });
    let connection = http1::Builder::new()
        .max_buf_size(MOST_BUFFERED)
        .serve_connection(stream, service);
    let mut connection = std::pin::pin!(connection);
    let mut limit = limits.header_read_timeout;
    let mut draining = false;
    loop {
        let seen = activity.begun();
        tokio::select! {
            ended = connection.as_mut() => return note(ended),
            () = lifecycle.stop_accepting.cancelled(), if !draining => {
                connection.as_mut().graceful_shutdown();
                draining = true;
                limit = LAST_REQUEST;
            }
            () = tokio::time::sleep(limit) => {
                if activity.is_idle_since(seen) {
                    return;
                }
                limit = if draining { LAST_REQUEST } else { limits.idle_timeout };
            }
        }
    }
}

fn prepare(stream: &TcpStream) {
    // Nagle's algorithm against delayed acknowledgements costs small answers 40 ms on reused connections.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(target: "mapleai::http", error = %error, "cannot set TCP_NODELAY");
    }
    // A reader that has stopped reading, or is gone without a word, is given up.
    if let Err(error) = SockRef::from(stream).set_tcp_user_timeout(Some(STALLED_READER)) {
        tracing::debug!(target: "mapleai::http", error = %error, "cannot set TCP_USER_TIMEOUT");
    }
}

/// Clients that hang up are everyday; nothing to tell an operator about.
fn note(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(target: "mapleai::http", error = %error, "connection ended");
    }
}
