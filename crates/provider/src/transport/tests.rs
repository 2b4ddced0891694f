//! Against real sockets and real servers of both versions, with and without TLS and a proxy.

mod bounds;
mod http2;
mod proxies;
mod servers;
mod versions;

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, Uri, Version};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::{ResponseBody, Transport, clients::Ping, connector::tls, proxy::ProxyVariables};
use crate::{ProviderError, SentMark};
use configuration::{Http2, ProviderConfig, ProviderKind};

/// What a test takes for "never".
const LONG: Duration = Duration::from_secs(8);
/// A limit that is meant to run out.
const SHORT: Duration = Duration::from_millis(300);

fn config(set: impl FnOnce(&mut ProviderConfig)) -> ProviderConfig {
    let mut config = ProviderConfig {
        connect_timeout: LONG,
        ..ProviderConfig::new(ProviderKind::Openai)
    };
    set(&mut config);
    config
}

/// To a server without TLS.
fn plain(address: SocketAddr, set: impl FnOnce(&mut ProviderConfig)) -> Transport {
    with_ping(address, LONG, set)
}

fn with_ping(address: SocketAddr, ping: Duration, set: impl FnOnce(&mut ProviderConfig)) -> Transport {
    let origin: Uri = format!("http://{address}/").parse().unwrap();
    let ping = Ping {
        interval: ping,
        timeout: ping,
    };
    let variables = ProxyVariables::default();
    Transport::with("test", &origin, &config(set), &variables, tls(false).unwrap(), ping).unwrap()
}

fn h2(config: &mut ProviderConfig) {
    config.http2 = Http2::PriorKnowledge;
}

fn request(origin: impl std::fmt::Display, path: &str) -> Request<Bytes> {
    let mut request = Request::new(Bytes::from_static(b"{}"));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = format!("{origin}{path}").parse().unwrap();
    request
}

async fn send(transport: &Transport, address: SocketAddr, path: &str) -> Result<Response<ResponseBody>, ProviderError> {
    let mark = SentMark::default();
    let sending = transport.send(|| request(format_args!("http://{address}"), path), &mark);
    timeout(LONG, sending).await.expect("an answer in time")
}

/// The version and body of an answer.
async fn whole(response: Response<ResponseBody>) -> Result<(Version, Bytes), hyper::Error> {
    let version = response.version();
    let body = timeout(LONG, response.into_body().collect())
        .await
        .expect("an end in time")?;
    Ok((version, body.to_bytes()))
}

/// So many calls at the same time, each read to its end.
async fn all_at_once(transport: &Transport, address: SocketAddr, count: usize) -> Vec<Result<Bytes, ProviderError>> {
    let calls = (0..count).map(|_| async {
        let response = send(transport, address, "/").await?;
        Ok(whole(response).await.unwrap().1)
    });
    futures_util::future::join_all(calls).await
}

/// Waits until it holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("{what}"));
}
