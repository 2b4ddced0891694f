//! One request to the instance that runs on this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret as _, SecretString};

const LARGEST_ANSWER: usize = 1024 * 1024;

pub(super) type CliError = Box<dyn std::error::Error + Send + Sync>;

/// Asks and collects the answer. Callers set the limit of time.
pub(super) async fn exchange(
    address: SocketAddr,
    method: Method,
    path: &str,
    token: Option<&SecretString>,
    body: Bytes,
) -> Result<(StatusCode, Bytes), CliError> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, address.to_string())
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose_secret()));
    }
    let asking = async {
        let response = sender.send_request(request.body(Full::new(body))?).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST_ANSWER)
            .collect()
            .await?
            .to_bytes();
        Ok::<_, CliError>((status, body))
    };
    tokio::pin!(asking);
    tokio::select! {
        answer = &mut asking => answer,
        // The connection's end may be what completes the answer.
        _ = connection => asking.await,
    }
}

/// An instance that listens on all addresses is asked on the local one.
pub(super) fn here(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::here;

    #[test]
    fn all_addresses_are_asked_on_the_local_one() {
        for (given, asked) in [
            ("0.0.0.0:9464", "127.0.0.1:9464"),
            ("[::]:9464", "[::1]:9464"),
            ("10.1.2.3:9", "10.1.2.3:9"),
        ] {
            assert_eq!(here(given.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
