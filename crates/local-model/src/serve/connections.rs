//! Connections, each with an end: so many at once, and so long for a request's head.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet, time::sleep};

/// Many more than requests that are answered and wait. Those beyond them wait to be accepted.
const MAX_CONNECTIONS: usize = 128;

/// For a request's head, from the connection's begin or the end of the request before: one that is kept for later is closed then.
const HEAD_TIMEOUT: Duration = Duration::from_mins(1);

/// After an error of accepting that is the machine's, such as no descriptor being left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until it is dropped, and all connections with it.
pub(super) async fn serve(listener: TcpListener, router: Router) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // A token is a small packet of its own.
        stream.set_nodelay(true).ok();
        let service = TowerToHyperService::new(router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move {
            // Whoever it was is gone, or spoke no HTTP.
            connection.await.ok();
            drop(place);
        });
    }
}
