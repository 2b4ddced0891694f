//! The mock upstream: an OpenAI-compatible server that says the same thing every time.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::{HeaderValue, Method, Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::{
    body::{Body, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::script::Script;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Accepts connections until the runtime ends.
pub(crate) async fn serve(listener: TcpListener, gap: Duration) -> io::Result<Infallible> {
    let script = Arc::new(Script::new());
    let connections = TaskTracker::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let script = Arc::clone(&script);
        let service = service_fn(move |request| answer(Arc::clone(&script), gap, request));
        // Whatever ends a connection is its client's affair, and shows there.
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    script: Arc<Script>,
    gap: Duration,
    request: Request<Incoming>,
) -> hyper::Result<Response<impl Body<Data = Bytes, Error: Into<BoxError>>>> {
    let asks_models = request.method() == Method::GET;
    let body = request.into_body().collect().await?.to_bytes();
    let says = |text: &[u8]| memmem::find(&body, text).is_some();
    let streamed = says(br#""stream":true"#) || says(br#""stream": true"#);
    let (kind, body) = if streamed {
        let with_usage = says(b"include_usage");
        (
            "text/event-stream",
            Either::Right(StreamBody::new(chunks(script, with_usage, gap))),
        )
    } else {
        let whole = if asks_models {
            &script.models
        } else {
            &script.completion
        };
        ("application/json", Either::Left(Full::new(whole.clone())))
    };
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

/// With no gap, each pass of the runtime sends one chunk of every open stream, so that a proxy sees chunks and not one
/// coalesced answer.
fn chunks(
    script: Arc<Script>,
    with_usage: bool,
    gap: Duration,
) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
    stream::unfold(0, move |step| {
        let script = Arc::clone(&script);
        async move {
            let chunks = if with_usage {
                &script.with_usage
            } else {
                &script.without_usage
            };
            let chunk = chunks.get(step)?.clone();
            if step > 0 && gap.is_zero() {
                tokio::task::yield_now().await;
            } else if step > 0 {
                tokio::time::sleep(gap).await;
            }
            Some((Ok(Frame::data(chunk)), step + 1))
        }
    })
}
