//! Through a proxy: tunnels, requests in another's name, and what becomes of failures there.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Uri;
use secrecy::SecretString;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::TcpStream,
};

use super::{
    LONG, Ping, SHORT, Transport, config, h2 as prior_knowledge, plain, request, send,
    servers::{answer_with, listen, serve_h1, serve_h2, tls as tls_of},
    tls, whole,
};
use crate::{ProviderError, SentMark, transport::proxy::ProxyVariables};
use configuration::ProviderConfig;

/// A proxy that lets those with the password through, and the heads of the requests that it got.
async fn proxy() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let seen = Arc::clone(&heads);
    let (address, _) = listen(move |_, stream| relay(stream, Arc::clone(&seen))).await;
    (address, heads)
}

async fn relay(mut client: TcpStream, seen: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match client.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let text = String::from_utf8(head.clone()).unwrap();
    let target = text.split(' ').nth(1).unwrap().to_owned();
    seen.lock().unwrap().push(text.clone());
    // maple:secret
    if !text
        .to_lowercase()
        .contains("proxy-authorization: basic bwfwbgu6c2vjcmv0\r\n")
    {
        let _ = client
            .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
            .await;
        return;
    }
    let address = match target.strip_prefix("http://") {
        Some(rest) => rest.split('/').next().unwrap().to_owned(),
        None => target.replace("localhost", "127.0.0.1"),
    };
    let mut server = TcpStream::connect(address).await.unwrap();
    if text.starts_with("CONNECT ") {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    } else {
        let own = text.replace(&format!(" {target} "), " / ");
        server.write_all(own.as_bytes()).await.unwrap();
    }
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

fn through(proxy: SocketAddr, password: &str) -> impl FnOnce(&mut ProviderConfig) {
    let url = SecretString::from(format!("http://maple:{password}@{proxy}"));
    move |config| config.proxy = Some(url)
}

#[tokio::test]
async fn plain_requests_are_made_by_the_proxy_and_its_password_goes_no_further() {
    let (proxy, heads) = proxy().await;
    let (address, connections) = listen(|_, stream| serve_h1(stream, |_| answer_with("done"))).await;
    let transport = plain(address, through(proxy, "secret"));
    for _ in 0..3 {
        let response = send(&transport, address, "/v1/x").await.unwrap();
        assert_eq!(whole(response).await.unwrap().1, "done");
    }
    let heads = heads.lock().unwrap();
    assert!(
        heads[0].starts_with(&format!("POST http://{address}/v1/x HTTP/1.1\r\n")),
        "{}",
        heads[0]
    );
    assert!(
        heads[0].to_lowercase().contains(&format!("host: {address}\r\n")),
        "{}",
        heads[0]
    );
    assert_eq!((heads.len(), connections.opened()), (1, 1), "one connection for all");
}

#[tokio::test]
async fn tls_goes_through_a_tunnel_in_either_version() {
    for protocol in ["h2", "http/1.1"] {
        let (proxy, heads) = proxy().await;
        let (acceptor, client) = tls_of(&[protocol.as_bytes()]);
        let (address, _) = listen(move |_, stream| {
            let acceptor = acceptor.clone();
            async move {
                let stream = acceptor.accept(stream).await.unwrap();
                let echo = |request: http::Request<hyper::body::Incoming>| {
                    answer_with(format!("{:?}", request.headers().get("proxy-authorization")))
                };
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    serve_h2(stream, echo).await;
                } else {
                    serve_h1(stream, echo).await;
                }
            }
        })
        .await;
        let origin: Uri = format!("https://localhost:{}/", address.port()).parse().unwrap();
        let ping = Ping {
            interval: LONG,
            timeout: LONG,
        };
        let config = config(through(proxy, "secret"));
        let transport = Transport::with("test", &origin, &config, &ProxyVariables::default(), client, ping).unwrap();
        let url = format!("https://localhost:{}", address.port());
        let response = transport
            .send(|| request(&url, "/"), &SentMark::default())
            .await
            .unwrap();
        let (version, body) = whole(response).await.unwrap();
        assert_eq!(version == http::Version::HTTP_2, protocol == "h2");
        assert_eq!(body, "None", "the password is the proxy's alone");
        let heads = heads.lock().unwrap();
        let expected = format!("CONNECT localhost:{} HTTP/1.1\r\n", address.port());
        assert!(heads[0].starts_with(&expected) && heads.len() == 1, "{heads:?}");
    }
}

#[tokio::test]
async fn http2_without_tls_goes_through_a_tunnel() {
    let (proxy, heads) = proxy().await;
    let (address, _) = listen(|_, stream| serve_h2(stream, |_| answer_with("two"))).await;
    let transport = plain(address, |config| {
        through(proxy, "secret")(config);
        prior_knowledge(config);
    });
    let response = send(&transport, address, "/").await.unwrap();
    assert_eq!(whole(response).await.unwrap().1, "two");
    assert!(heads.lock().unwrap()[0].starts_with(&format!("CONNECT {address} ")));
}

#[tokio::test]
async fn a_proxy_that_refuses_or_hangs_is_no_provider() {
    let (refusing, _) = proxy().await;
    let (silent, _) = listen(|_, mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let secure = |proxy, limit| {
        let config = config(|config| {
            through(proxy, "wrong")(config);
            config.connect_timeout = limit;
        });
        let ping = Ping {
            interval: LONG,
            timeout: LONG,
        };
        let origin = Uri::from_static("https://provider.example/");
        Transport::with(
            "test",
            &origin,
            &config,
            &ProxyVariables::default(),
            tls(false).unwrap(),
            ping,
        )
        .unwrap()
    };
    let call = async |transport: Transport| {
        let mark = SentMark::default();
        let sent = transport.send(|| request("https://provider.example", "/"), &mark).await;
        assert!(!mark.is_set());
        sent.err().unwrap()
    };
    let error = call(secure(refusing, LONG)).await;
    let ProviderError::Unreachable(source) = &error else {
        panic!("{error:?}")
    };
    let said = std::iter::successors(Some(&**source as &dyn std::error::Error), |cause| cause.source());
    let said: Vec<_> = said.map(ToString::to_string).collect();
    assert!(
        said.iter().any(|text| text.contains("proxy authorization required")),
        "{said:?}"
    );
    let error = call(secure(silent, SHORT)).await;
    assert!(
        matches!(error, ProviderError::ConnectTimeout(limit) if limit == SHORT),
        "{error:?}"
    );
    // A plain request has the proxy's own answer.
    let (address, _) = listen(|_, stream| serve_h1(stream, |_| answer_with("done"))).await;
    let response = send(&plain(address, through(refusing, "wrong")), address, "/")
        .await
        .unwrap();
    assert_eq!(response.status(), 407);
}

#[tokio::test]
async fn the_environment_sends_nothing_for_this_machine_through_a_proxy() {
    let (address, _) = listen(|_, stream| serve_h1(stream, |_| answer_with("done"))).await;
    let variables = ProxyVariables::read(|name| (name == "HTTP_PROXY").then(|| "http://127.0.0.1:1".to_owned()));
    let ping = Ping {
        interval: LONG,
        timeout: Duration::from_secs(1),
    };
    let origin: Uri = format!("http://{address}/").parse().unwrap();
    let transport = Transport::with("test", &origin, &config(|_| {}), &variables, tls(false).unwrap(), ping).unwrap();
    let response = send(&transport, address, "/").await.unwrap();
    assert_eq!(whole(response).await.unwrap().1, "done");
}
