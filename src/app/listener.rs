//! Accepting connections. The loop is ours rather than axum's for three things: no Nagle delay, a limit on slow headers,
//! and a drain that ends.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tower::ServiceExt;

use crate::{http::edge::Peer, lifecycle::Lifecycle};

/// After a failed accept, which means that the process or system is out of something.
const PAUSE: Duration = Duration::from_millis(50);

/// Limits of the listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub header_read_timeout: Duration,
    pub max_connections: usize,
}

/// Serves until told to stop accepting. Open connections are tracked in `lifecycle`.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, lifecycle: Lifecycle) {
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
                let connection = connection(stream, peer, router.clone(), limits, lifecycle.clone());
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

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, limits: Limits, lifecycle: Lifecycle) {
    // Nagle's algorithm against delayed acknowledgements costs small answers 40 ms on reused connections.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(target: "mapleai::http", error = %error, "cannot set TCP_NODELAY");
    }
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let router = router.clone();
        async move {
            Ok::<_, Infallible>(
                router
                    .oneshot(request.map(Body::new))
                    .await
                    .unwrap_or_else(|never| match never {}),
            )
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return note(ended),
        () = lifecycle.stop_accepting.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    note(connection.await);
}

/// Clients that hang up are everyday; nothing to tell an operator about.
fn note(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(target: "mapleai::http", error = %error, "connection ended");
    }
}
