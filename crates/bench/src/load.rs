//! The load generator: a fixed set of kept connections, in open or closed loop.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    pin::{Pin, pin},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::{Either, select, try_join_all};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::{net::TcpStream, sync::Mutex, time::timeout_at};

use crate::{
    error::{BenchError, During},
    histogram::Histogram,
    request::ChatRequest,
    schedule::Schedule,
    script::CHUNKS,
};

/// Both loops use as many connections; closed loop keeps all of them busy.
pub(crate) const CONNECTIONS: usize = 64;
/// How long answers may still come in after the last request was due.
const DRAIN: Duration = Duration::from_secs(5);

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrivals {
    /// At a fixed rate, whatever the server does; latency counts from the intended time.
    Open { per_second: u32 },
    /// The next request of a connection leaves when its last answer is complete.
    Closed,
}

/// What one run saw.
#[derive(Default)]
pub(crate) struct Tally {
    /// From the intended send time to the last byte.
    pub(crate) latency: Histogram,
    /// From the intended send time to the first event; empty when not streamed.
    pub(crate) first_chunk: Histogram,
    /// How late requests left, which is the generator's own doing.
    pub(crate) lateness: Histogram,
    pub(crate) completed: u64,
    /// Wrong status, broken or incomplete answers, and requests never answered.
    pub(crate) errors: u64,
    /// Answers of which the cache had to say what it was meant to.
    pub(crate) as_meant: u64,
    /// Chunks of answers; divided by `completed` it shows whether a proxy put chunks together.
    pub(crate) chunks: u64,
}

/// A kept connection, which is moved by whoever waits for an answer on it.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Pin<Box<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>>,
}

/// The connections to one target, which its runs share.
pub(crate) struct Load {
    target: SocketAddr,
    request: RefCell<ChatRequest>,
    streamed: bool,
    /// What answers should have in `x-maple-cache`; none of a target without a cache.
    meant: Option<&'static str>,
    connections: Vec<Option<Connection>>,
}

impl Load {
    pub(crate) fn new(target: SocketAddr, request: ChatRequest, streamed: bool, meant: Option<&'static str>) -> Self {
        Self {
            target,
            request: RefCell::new(request),
            streamed,
            meant,
            connections: (0..CONNECTIONS).map(|_| None).collect(),
        }
    }

    /// Sends for `duration`, then waits for the answers.
    pub(crate) async fn run(
        &mut self,
        arrivals: Arrivals,
        duration: Duration,
    ) -> Result<(Tally, Duration), BenchError> {
        let mut connections = std::mem::take(&mut self.connections);
        for connection in connections.iter_mut().filter(|connection| connection.is_none()) {
            *connection = Some(connect(self.target).await?);
        }
        let start = Instant::now();
        let end = start + duration;
        let schedule = match arrivals {
            Arrivals::Closed => None,
            Arrivals::Open { per_second } => Some(Mutex::new(Schedule::start(start, duration, per_second))),
        };
        let run = Run {
            load: self,
            end,
            schedule,
            in_flight: Cell::new(0),
            tally: RefCell::default(),
        };
        let lanes = try_join_all(connections.iter_mut().map(|connection| run.lane(connection)));
        // What is in flight by then is given up, and its connection with it.
        let ended = timeout_at((end + DRAIN).into(), lanes).await;
        // In closed loop the tail after `end` drains at full speed, so it counts as time under load.
        let elapsed = start.elapsed();
        let (mut tally, in_flight) = (run.tally.into_inner(), run.in_flight.get());
        if ended.is_err() {
            tally.errors += in_flight + run.schedule.map_or(0, |schedule| schedule.into_inner().left());
        }
        self.connections = connections;
        ended.unwrap_or(Ok(Vec::new())).map(|_| (tally, elapsed))
    }
}

/// One run over all connections.
struct Run<'a> {
    load: &'a Load,
    end: Instant,
    /// Connections without a request queue for its lock, so that all are used in turn.
    schedule: Option<Mutex<Schedule>>,
    in_flight: Cell<u64>,
    tally: RefCell<Tally>,
}

impl Run<'_> {
    /// One request after the other.
    async fn lane(&self, kept: &mut Option<Connection>) -> Result<(), BenchError> {
        let mut answer = Vec::new();
        while let Some(intended) = self.due().await {
            self.in_flight.set(self.in_flight.get() + 1);
            // A server may close an idle connection; only a request lost to it is an error.
            let mut connection = match kept.take().filter(|connection| !connection.sender.is_closed()) {
                Some(connection) => connection,
                None => connect(self.load.target).await?,
            };
            let exchanged = {
                let exchange = pin!(self.exchange(&mut connection.sender, intended, &mut answer));
                match select(&mut connection.driver, exchange).await {
                    Either::Left((_, exchange)) => exchange.await,
                    Either::Right((exchanged, _)) => exchanged,
                }
            };
            match exchanged {
                Ok(()) => *kept = Some(connection),
                Err(_) => self.tally.borrow_mut().errors += 1,
            }
            self.in_flight.set(self.in_flight.get() - 1);
        }
        Ok(())
    }

    async fn due(&self) -> Option<Instant> {
        if let Some(schedule) = &self.schedule {
            return schedule.lock().await.next().await;
        }
        let now = Instant::now();
        (now < self.end).then_some(now)
    }

    /// Sends a request, and looks at its answer. An error is a connection that is of no more use.
    async fn exchange(
        &self,
        connection: &mut SendRequest<Full<Bytes>>,
        intended: Instant,
        answer: &mut Vec<u8>,
    ) -> hyper::Result<()> {
        connection.ready().await?;
        let request = self.load.request.borrow_mut().next();
        self.tally.borrow_mut().lateness.record(intended.elapsed());
        let response = connection.send_request(request).await?;
        let (head, mut body) = response.into_parts();
        answer.clear();
        let mut first_chunk = None;
        let mut chunks = 0;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            chunks += 1;
            if self.load.streamed && first_chunk.is_none() {
                first_chunk = Some(intended.elapsed());
            }
            answer.extend_from_slice(&data);
        }
        let latency = intended.elapsed();
        let mut tally = self.tally.borrow_mut();
        tally.chunks += chunks;
        if head.status != StatusCode::OK || !is_right(answer, self.load.streamed) {
            tally.errors += 1;
            return Ok(());
        }
        tally.completed += 1;
        tally.as_meant += u64::from(self.load.meant.is_none_or(|meant| said(&head.headers, meant)));
        tally.latency.record(latency);
        if let Some(first_chunk) = first_chunk {
            tally.first_chunk.record(first_chunk);
        }
        Ok(())
    }
}

async fn connect(target: SocketAddr) -> Result<Connection, BenchError> {
    let stream = TcpStream::connect(target)
        .await
        .during(format!("connecting to {target}"))?;
    stream.set_nodelay(true).during("setting TCP_NODELAY")?;
    let (sender, driver) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(std::io::Error::other)
        .during("connecting")?;
    Ok(Connection {
        sender,
        driver: Box::pin(driver),
    })
}

fn said(headers: &HeaderMap, meant: &str) -> bool {
    headers.get("x-maple-cache").is_some_and(|value| value == meant)
}

/// A fast wrong answer must not count as a fast answer.
fn is_right(body: &[u8], streamed: bool) -> bool {
    if streamed {
        memmem::find_iter(body, br#""delta":"#).count() == CHUNKS && memmem::rfind(body, b"data: [DONE]").is_some()
    } else {
        memmem::find(body, br#""completion_tokens":24"#).is_some()
    }
}
