//! The thread that load generator and mock upstream share: a second one on the same core would only add context switches.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{net::TcpListener, runtime::Runtime};

use crate::{
    error::{BenchError, During},
    load::{Arrivals, Load, Tally},
    upstream,
};

/// The runtime of the load side, on which the mock upstream answers while anything runs on it.
pub(crate) struct Engine {
    runtime: Runtime,
    upstream: SocketAddr,
}

impl Engine {
    /// `gap` is the pause between two chunks of a stream.
    pub(crate) fn new(upstream: (IpAddr, u16), gap: Duration) -> Result<Self, BenchError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.during("starting the load side's runtime")?;
        let listener = runtime.block_on(TcpListener::bind(upstream));
        let listener = listener.during("binding the mock upstream")?;
        let upstream = listener.local_addr().during("the mock upstream's address")?;
        runtime.spawn(upstream::serve(listener, gap));
        Ok(Self { runtime, upstream })
    }

    pub(crate) fn upstream_address(&self) -> SocketAddr {
        self.upstream
    }

    /// Runs `future`, and serves the mock upstream meanwhile.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Serves the mock upstream alone.
    pub(crate) fn serve(&self, wait: Duration) {
        self.block_on(async { tokio::time::sleep(wait).await });
    }

    /// Sends for `duration`, then waits for the answers.
    pub(crate) fn run(
        &self,
        load: &mut Load,
        arrivals: Arrivals,
        duration: Duration,
    ) -> Result<(Tally, Duration), BenchError> {
        self.block_on(load.run(arrivals, duration))
    }
}
