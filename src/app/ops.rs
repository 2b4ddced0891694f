//! The listener for operations, on a thread and runtime of its own: probes and metrics answer in milliseconds while the
//! runtime that serves requests has its hands full, and tell when that one is stuck.

use std::{
    net::{SocketAddr, TcpListener},
    thread::JoinHandle,
    time::Duration,
};

use axum::Router;

use super::{AppError, listener};
use crate::lifecycle::{Lifecycle, wait_for};
use telemetry::error_chain;

/// Probes are short; what is longer is not waited for.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// Prometheus and some probes; whoever else finds the port is not to exhaust file descriptors.
const LIMITS: listener::ListenerLimits = listener::ListenerLimits {
    header_read_timeout: Duration::from_secs(5),
    idle_timeout: Duration::from_mins(2),
    max_connections: 256,
    // Probes, Prometheus and people by a port-forward may come from one.
    max_connections_per_address: 128,
    proxies: Vec::new(),
};

/// Ends when told to, or with the process.
pub struct OpsListener {
    address: SocketAddr,
    lifecycle: Lifecycle,
    thread: Option<JoinHandle<()>>,
}

impl OpsListener {
    pub fn start(address: SocketAddr, router: Router) -> Result<Self, AppError> {
        let listen = |source| AppError::Listen { address, source };
        let socket = TcpListener::bind(address).map_err(listen)?;
        socket.set_nonblocking(true).map_err(listen)?;
        let address = socket.local_addr().map_err(listen)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(AppError::OpsRuntime)?;
        let lifecycle = Lifecycle::default();
        let own = lifecycle.clone();
        let serve = move || {
            runtime.block_on(async move {
                match tokio::net::TcpListener::from_std(socket) {
                    Ok(socket) => listener::serve(socket, router, LIMITS, own.clone(), ()).await,
                    Err(error) => {
                        tracing::error!(target: "mapleai::lifecycle", error = %error_chain(&error), "the operations listener cannot start");
                        own.broken.cancel();
                    }
                }
                wait_for(&own.connections, LAST_ANSWERS).await;
            });
        };
        let thread = std::thread::Builder::new()
            .name("operations".to_owned())
            .spawn(serve)
            .map_err(AppError::OpsRuntime)?;
        Ok(Self {
            address,
            lifecycle,
            thread: Some(thread),
        })
    }

    /// Where it listens, with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends within [`LAST_ANSWERS`], or is left to end with the process.
    pub async fn stop(mut self) {
        self.lifecycle.stop_accepting.cancel();
        if let Some(thread) = self.thread.take() {
            let joined = tokio::task::spawn_blocking(move || thread.join());
            let _ = tokio::time::timeout(2 * LAST_ANSWERS, joined).await;
        }
    }
}
