//! The least that a gateway made of these libraries does for a request: a yardstick for what MapleAI's own part costs, which
//! `make bench` builds with MapleAI's own flags and measures beside it.
//!
//! An axum handler over hyper-util's pooled client: the key's digest is looked up in memory, the model and `stream` are read from
//! the body, the body is passed on as it came, and a usage record goes to a task that takes them in batches, and drops them. No
//! admission, limits, retries, traces, caches, journal, database, timeouts or drain.

use std::{
    borrow::Cow,
    collections::HashSet,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    Router,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
    routing::post,
};
use clap::Parser;
use http::{
    Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use http_body_util::{BodyExt, Limited};
use hyper::server::conn::http1;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use metrics::{Counter, Histogram};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde::Deserialize;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::mpsc::{Receiver, Sender, channel},
};
use tokio_util::task::TaskTracker;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MODEL: &str = "bench-model";
const LARGEST_BODY: usize = 4 << 20;
const RECORDS: usize = 65_536;
const BATCH: usize = 1_000;
const BATCH_EVERY: Duration = Duration::from_millis(10);

#[derive(Parser)]
#[command(version)]
struct Arguments {
    address: SocketAddr,
    upstream: SocketAddr,
    /// The one that it knows.
    key: String,
}

struct Reference {
    client: Client<HttpConnector, Body>,
    upstream: String,
    keys: HashSet<Vec<u8>>,
    records: Sender<Record>,
    answered: Counter,
    latency: Histogram,
}

/// As large as what tells of one call.
#[expect(dead_code, reason = "nobody reads what is dropped")]
struct Record {
    key: [u8; 32],
    streamed: bool,
    tokens: u64,
    latency: Duration,
}

#[derive(Deserialize)]
struct Wanted<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
    #[serde(default)]
    stream: bool,
}

#[derive(Deserialize)]
struct Answer {
    usage: Usage,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
}

#[derive(Debug, thiserror::Error)]
enum ReferenceError {
    #[error("metrics: {0}")]
    Metrics(String),
    #[error("the socket: {0}")]
    Io(#[from] io::Error),
}

/// Serves until SIGTERM, and ends as a program does: what is built to count writes its counts then.
fn main() -> Result<(), ReferenceError> {
    let arguments = Arguments::parse();
    let refused = |error: &dyn std::error::Error| ReferenceError::Metrics(error.to_string());
    let recorder = PrometheusBuilder::new()
        .set_buckets(&[0.001, 0.01, 0.1, 1.0, 10.0])
        .map_err(|error| refused(&error))?;
    metrics::set_global_recorder(recorder.build_recorder()).map_err(|error| refused(&error))?;
    // As many workers as TOKIO_WORKER_THREADS says.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // On a worker, as what is measured is: the thread that blocks on a future is another one.
    let tasks = TaskTracker::new();
    let accepting = tasks.spawn_on(accept(arguments, tasks.clone()), runtime.handle());
    runtime.block_on(async {
        let mut termination = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = termination.recv() => Ok(()),
            ended = accepting => ended.map_err(io::Error::other)?.map(|never| match never {}),
        }
    })
}

async fn accept(arguments: Arguments, tasks: TaskTracker) -> Result<Infallible, ReferenceError> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let (records, taken) = channel(RECORDS);
    tasks.spawn(drop_in_batches(taken));
    let reference = Reference {
        client: Client::builder(TokioExecutor::new()).build(connector),
        upstream: format!("http://{}/v1/chat/completions", arguments.upstream),
        keys: HashSet::from([digest(&SHA256, arguments.key.as_bytes()).as_ref().to_vec()]),
        records,
        answered: metrics::counter!("answered"),
        latency: metrics::histogram!("latency_seconds"),
    };
    let router = Router::new()
        .route("/v1/chat/completions", post(chat))
        .with_state(Arc::new(reference));
    let listener = TcpListener::bind(arguments.address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = TowerToHyperService::new(router.clone());
        tasks.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn chat(State(reference): State<Arc<Reference>>, request: Request<Body>) -> Response {
    reference
        .answer(request)
        .await
        .unwrap_or_else(IntoResponse::into_response)
}

impl Reference {
    async fn answer(&self, request: Request<Body>) -> Result<Response, StatusCode> {
        let begun = Instant::now();
        let (head, body) = request.into_parts();
        let key = head.headers.get(AUTHORIZATION).map(http::HeaderValue::as_bytes);
        let key = key.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
        let key = digest(&SHA256, key);
        if !self.keys.contains(key.as_ref()) {
            return Err(StatusCode::UNAUTHORIZED);
        }
        let body = Limited::new(body, LARGEST_BODY).collect().await;
        let body = body.map_err(|_| StatusCode::BAD_REQUEST)?.to_bytes();
        let wanted: Wanted<'_> = serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
        if wanted.model != MODEL {
            return Err(StatusCode::NOT_FOUND);
        }
        let streamed = wanted.stream;
        let onward = Request::post(self.upstream.as_str())
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, "Bearer sk-bench")
            .body(Body::from(body));
        let onward = onward.map_err(|_| StatusCode::BAD_REQUEST)?;
        let answer = self.client.request(onward).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
        self.answered.increment(1);
        let mut record = Record {
            key: key.as_ref().try_into().unwrap_or_default(),
            streamed,
            tokens: 0,
            latency: Duration::ZERO,
        };
        let (head, body) = answer.into_parts();
        let body = if streamed {
            Body::new(body)
        } else {
            let body = body.collect().await.map_err(|_| StatusCode::BAD_GATEWAY)?.to_bytes();
            let usage = serde_json::from_slice(&body).map(|answer: Answer| answer.usage);
            record.tokens = usage.map_or(0, |usage| usage.prompt_tokens + usage.completion_tokens);
            Body::from(body)
        };
        record.latency = begun.elapsed();
        self.latency.record(record.latency.as_secs_f64());
        // A full queue loses records: it is a yardstick for speed.
        let _ = self.records.try_send(record);
        Ok(Response::from_parts(head, body))
    }
}

async fn drop_in_batches(mut records: Receiver<Record>) {
    let mut batch = Vec::with_capacity(BATCH);
    while records.recv_many(&mut batch, BATCH).await > 0 {
        batch.clear();
        tokio::time::sleep(BATCH_EVERY).await;
    }
}
