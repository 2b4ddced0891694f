//! hyper-util's clients, each with a pool of its own: how many there are, and when they are replaced.
//!
//! A pool of hyper-util ends no connection for its age, and has one connection of HTTP/2 at a time. So the clients are replaced as a whole when
//! they are old: their idle connections close at once, the others with their last response. And there are several, of which the second and later
//! ones get requests when those before have as many in flight as a connection of HTTP/2 carries.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};

use super::{
    body::{InFlight, RequestBody},
    connector::Connector,
};
use concurrency::write_coalescing::MAX_BUFFERED_BYTES;

pub(super) type Client = legacy::Client<Connector, RequestBody>;

/// Idle connections kept at most.
const MAX_IDLE: usize = 512;
/// Of a response of HTTP/2, in bytes: as much as of one of HTTP/1.1.
const MAX_HEAD: u32 = 32 * 1024;
/// Requests on one connection of HTTP/2. Servers should allow no fewer (RFC 9113 6.5.2); with one that does, requests wait.
const STREAMS: u16 = 100;
/// Connections of HTTP/2 at most.
const MAX_H2_CONNECTIONS: usize = 16;
/// What the server may send of a response before it is read: that much is held in memory for a reader who is slow.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Of all responses on a connection: no slow reader holds up another.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 100;

/// After `interval` without a byte from a server of HTTP/2 that has requests it is asked for a sign of life, and for `timeout` that is waited for.
#[derive(Clone, Copy)]
pub(super) struct Ping {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

/// Answers may pause for minutes, and balancers forget connections that are silent for one.
pub(super) const PING: Ping = Ping {
    interval: Duration::from_secs(30),
    timeout: Duration::from_secs(10),
};

#[derive(Clone, Copy)]
pub(super) struct PoolSettings {
    pub(super) is_h2_only: bool,
    pub(super) idle_timeout: Duration,
    pub(super) max_age: Duration,
    pub(super) max_connections: usize,
    pub(super) ping: Ping,
}

pub(super) struct ClientPool {
    current: ArcSwap<Clients>,
    /// Keeps no connection.
    fresh: Counted,
    connector: Connector,
    settings: PoolSettings,
}

struct Clients {
    counted: Box<[Counted]>,
    made: Instant,
}

struct Counted {
    client: Client,
    in_flight: Arc<AtomicUsize>,
}

impl ClientPool {
    pub(super) fn new(connector: Connector, settings: PoolSettings, now: Instant) -> Self {
        Self {
            current: ArcSwap::from_pointee(Clients::new(&connector, settings, now)),
            fresh: Counted::new(&connector, settings, 0),
            connector,
            settings,
        }
    }

    /// A client for one request.
    pub(super) fn client(&self, is_h2: bool, now: Instant) -> (Client, InFlight) {
        let mut clients = self.current.load();
        if now.saturating_duration_since(clients.made) > self.settings.max_age {
            let new = Arc::new(Clients::new(&self.connector, self.settings, now));
            // Of several who see it at the same time one replaces it.
            self.current.compare_and_swap(&*clients, new);
            clients = self.current.load();
        }
        clients.pick(is_h2).take()
    }

    /// A client that opens a connection for the request and closes it after the response.
    pub(super) fn fresh(&self) -> (Client, InFlight) {
        self.fresh.take()
    }
}

impl Clients {
    fn new(connector: &Connector, settings: PoolSettings, now: Instant) -> Self {
        let count = settings.max_connections.clamp(1, MAX_H2_CONNECTIONS);
        let max_idle = settings.max_connections.min(MAX_IDLE);
        Self {
            counted: (0..count)
                .map(|_| Counted::new(connector, settings, max_idle))
                .collect(),
            made: now,
        }
    }

    /// The first with room, so that few connections are open; of HTTP/1.1 always the first, whose pool has them all.
    fn pick(&self, is_h2: bool) -> &Counted {
        let first = &self.counted[0];
        if !is_h2 {
            return first;
        }
        let count = |one: &&Counted| one.in_flight.load(Ordering::Relaxed);
        let with_room = self.counted.iter().find(|one| count(one) < usize::from(STREAMS));
        with_room
            .or_else(|| self.counted.iter().min_by_key(count))
            .unwrap_or(first)
    }
}

impl Counted {
    fn new(connector: &Connector, settings: PoolSettings, max_idle: usize) -> Self {
        // Connections are tasks of their own, each of which ends with its connection.
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(settings.idle_timeout)
            .pool_max_idle_per_host(max_idle)
            .http1_max_buf_size(MAX_BUFFERED_BYTES)
            .http2_only(settings.is_h2_only)
            .http2_max_header_list_size(MAX_HEAD)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(settings.ping.interval)
            .http2_keep_alive_timeout(settings.ping.timeout);
        Self {
            client: builder.build(connector.clone()),
            in_flight: Arc::default(),
        }
    }

    fn take(&self) -> (Client, InFlight) {
        (self.client.clone(), InFlight::new(&self.in_flight))
    }
}
