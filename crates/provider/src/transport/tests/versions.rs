//! Which version of HTTP is spoken with whom.

use std::net::SocketAddr;

use http::{Uri, Version};

use super::{
    LONG, Ping, ProxyVariables, SentMark, Transport, config, h2, plain, request, send,
    servers::{Connections, answer_with, listen, serve_h1, serve_h2, tls},
    whole,
};
use crate::ProviderError;
use configuration::Http2;

/// A TLS server that speaks these, as its handshake says, and a client of it.
async fn secure(protocols: &[&[u8]], http2: Http2) -> (Transport, SocketAddr, Connections) {
    let (acceptor, client) = tls(protocols);
    let (address, connections) = listen(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                serve_h2(stream, |_| answer_with("two")).await;
            } else {
                serve_h1(stream, |_| answer_with("one")).await;
            }
        }
    })
    .await;
    let origin: Uri = format!("https://localhost:{}/", address.port()).parse().unwrap();
    let ping = Ping {
        interval: LONG,
        timeout: LONG,
    };
    let config = config(|config| config.http2 = http2);
    let transport = Transport::with("test", &origin, &config, &ProxyVariables::default(), client, ping);
    (transport.unwrap(), address, connections)
}

async fn version(transport: &Transport, port: u16) -> Result<(Version, bytes::Bytes), ProviderError> {
    let mark = SentMark::default();
    let response = transport
        .send(|| request(format_args!("https://localhost:{port}"), "/"), &mark)
        .await?;
    assert!(mark.is_set());
    Ok(whole(response).await.unwrap())
}

#[tokio::test]
async fn the_handshake_of_tls_chooses_the_version() {
    for (protocols, http2, expected) in [
        (&[&b"h2"[..], b"http/1.1"][..], Http2::Auto, Version::HTTP_2),
        (&[b"http/1.1"], Http2::Auto, Version::HTTP_11),
        // A server that has not heard of the choice.
        (&[], Http2::Auto, Version::HTTP_11),
        (&[b"h2", b"http/1.1"], Http2::Off, Version::HTTP_11),
        (&[b"h2"], Http2::PriorKnowledge, Version::HTTP_2),
    ] {
        let (transport, address, connections) = secure(protocols, http2).await;
        for _ in 0..5 {
            let (version, body) = version(&transport, address.port()).await.unwrap();
            let expected_body = if expected == Version::HTTP_2 { "two" } else { "one" };
            assert_eq!(
                (version, &body[..]),
                (expected, expected_body.as_bytes()),
                "{protocols:?} {http2:?}"
            );
        }
        assert_eq!(connections.opened(), 1, "{protocols:?} {http2:?}");
    }
}

#[tokio::test]
async fn prior_knowledge_needs_no_tls_and_is_no_use_with_a_server_of_http1() {
    let (address, _) = listen(|_, stream| serve_h2(stream, |_| answer_with("two"))).await;
    let response = send(&plain(address, h2), address, "/").await.unwrap();
    assert_eq!(whole(response).await.unwrap(), (Version::HTTP_2, "two".into()));

    let (address, _) = listen(|_, stream| serve_h1(stream, |_| answer_with("one"))).await;
    let error = send(&plain(address, h2), address, "/").await.err().unwrap();
    assert!(
        matches!(error, ProviderError::BadReply(_) | ProviderError::BrokenOff(_)),
        "{error:?}"
    );
    // And without it such a server is spoken to as it wants.
    let response = send(&plain(address, |_| {}), address, "/").await.unwrap();
    assert_eq!(whole(response).await.unwrap(), (Version::HTTP_11, "one".into()));
}

/// What a server is told of who it is: the header, and the authority of HTTP/2.
fn named(request: &http::Request<hyper::body::Incoming>) -> String {
    let header = request.headers().get_all(http::header::HOST).iter();
    let header: Vec<_> = header.filter_map(|value| value.to_str().ok()).collect();
    format!(
        "{header:?} {:?}",
        request.uri().authority().map(http::uri::Authority::as_str)
    )
}

#[tokio::test]
async fn a_server_is_told_once_who_it_is() {
    let (address, _) = listen(|_, stream| serve_h1(stream, |request| answer_with(named(&request)))).await;
    let transport = plain(address, |_| {});
    for _ in 0..2 {
        let (_, body) = whole(send(&transport, address, "/").await.unwrap()).await.unwrap();
        assert_eq!(body, format!("[\"{address}\"] None"));
    }
    let mark = SentMark::default();
    let configured = || {
        let mut request = request(format_args!("http://{address}"), "/");
        let host = http::HeaderValue::from_static("models.example");
        request.headers_mut().insert(http::header::HOST, host);
        request
    };
    let response = transport.send(configured, &mark).await.unwrap();
    assert_eq!(whole(response).await.unwrap().1, "[\"models.example\"] None");

    let (address, _) = listen(|_, stream| serve_h2(stream, |request| answer_with(named(&request)))).await;
    let response = send(&plain(address, h2), address, "/").await.unwrap();
    assert_eq!(whole(response).await.unwrap().1, format!("[] Some(\"{address}\")"));
}

#[test]
fn a_usual_port_is_not_named() {
    for (origin, host) in [
        ("https://api.example/", "api.example"),
        ("https://api.example:443/v1", "api.example"),
        ("https://api.example:80/", "api.example:80"),
        ("http://[::1]:80/", "[::1]"),
        ("http://[::1]:8000/", "[::1]:8000"),
    ] {
        let origin: Uri = origin.parse().unwrap();
        assert_eq!(super::super::host_of(&origin).unwrap(), host, "{origin}");
    }
}
