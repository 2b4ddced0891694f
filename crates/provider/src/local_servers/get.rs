//! One GET request to a port of this machine.

use std::{
    error::Error,
    net::{Ipv4Addr, SocketAddr},
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Largest answer that is read, in bytes.
pub(super) const LARGEST: usize = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub(super) enum GetError {
    #[error("nobody listens")]
    Connect(#[source] std::io::Error),
    #[error("it is not HTTP")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be made")]
    Request(#[from] http::Error),
    #[error("its body breaks off, or is larger than {LARGEST} bytes")]
    Body(#[source] Box<dyn Error + Send + Sync>),
}

/// Asks without a key and follows no redirect. Whoever calls sets the limit of time.
pub(super) async fn get(port: u16, path: &str) -> Result<(StatusCode, Bytes), GetError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect(address).await.map_err(GetError::Connect)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let asking = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        Ok((status, body.map_err(GetError::Body)?.to_bytes()))
    };
    tokio::pin!(asking);
    tokio::select! {
        answer = &mut asking => answer,
        // The connection's end may be what completes the answer.
        _ = connection => asking.await,
    }
}
