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
