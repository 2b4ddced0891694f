//! Sockets: what strangers can hold of them, and for how long.

use std::time::{Duration, Instant};

use configuration::Config;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::support::{Client, TestApp, accounts::register, eventually, soon};

/// A connection from one of the loopback network's addresses.
async fn connect(app: &TestApp, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(app.address).await.unwrap()
}

/// Until the other end closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    soon("the end of the connection", async {
        // A reset is an end, too.
        let _ = stream.read_to_end(&mut text).await;
    })
    .await;
    String::from_utf8(text).unwrap()
}

/// One whole answer to a request without a body.
async fn ask(stream: &mut TcpStream) -> String {
    stream
        .write_all(b"GET /api/ready HTTP/1.1\r\nhost: maple.test\r\n\r\n")
        .await
        .unwrap();
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    soon("an answer", async {
        loop {
            let count = stream.read(&mut buffer).await.unwrap_or(0);
            text.extend_from_slice(&buffer[..count]);
            if count == 0 || text.ends_with(b"}") {
                break;
            }
        }
    })
    .await;
    String::from_utf8(text).unwrap()
}

const HALF_A_BODY: &[u8] =
    b"POST /api/auth/login HTTP/1.1\r\nhost: maple.test\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{";

/// A connection with a request whose body does not come.
async fn half_a_body(app: &TestApp, from: &str) -> TcpStream {
    let mut stream = connect(app, from).await;
    stream.write_all(HALF_A_BODY).await.unwrap();
    stream
}

async fn start(change: impl FnOnce(&mut Config)) -> TestApp {
    TestApp::start_with(|config| {
        config.server.max_connections = 20;
        config.server.max_connections_per_address = None;
        change(config);
    })
    .await
}

#[tokio::test]
async fn a_second_head_that_trickles_is_cut_off_like_the_first_and_an_idle_connection_is_not() {
    let app = start(|config| config.server.header_read_timeout = Duration::from_secs(1)).await;
    let mut idle = connect(&app, "127.0.0.2").await;
    assert!(ask(&mut idle).await.starts_with("HTTP/1.1 200"));
    let mut slow = connect(&app, "127.0.0.3").await;
    assert!(ask(&mut slow).await.starts_with("HTTP/1.1 200"));
    let began = Instant::now();
    let (mut reading, mut writing) = slow.into_split();
    let trickling = async {
        for byte in b"GET /api/ready HTTP/1.1\r\nx-".iter().chain(std::iter::repeat(&b'x')) {
            if writing.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let mut text = Vec::new();
    tokio::select! {
        () = trickling => {}
        _ = soon("the end of the connection", reading.read_to_end(&mut text)) => {}
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(ask(&mut idle).await.starts_with("HTTP/1.1 200"), "the idle one goes on");
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up_long_before_its_limit() {
    let app = start(|_| {}).await;
    let began = Instant::now();
    let mut stream = half_a_body(&app, "127.0.0.2").await;
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

/// What is left of a connection's answer while a body goes on and on behind the head, quicker than what is given up as a trickle.
async fn answer_to_endless(stream: TcpStream, head: &str) -> String {
    let (mut reading, mut writing) = stream.into_split();
    let sending = async {
        let mut piece = head.as_bytes().to_vec();
        while writing.write_all(&piece).await.is_ok() {
            piece = vec![b' '; 2 * 1024];
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut text = Vec::new();
    tokio::select! {
        () = sending => {}
        _ = soon("the end of the connection", reading.read_to_end(&mut text)) => {}
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_body_has_the_configured_time_and_other_connections_do_not_notice() {
    let app = start(|config| {
        config.server.body_timeout = Duration::from_secs(1);
        config.server.body_limit = 8 << 20;
        config.server.max_connections_per_address = Some(20);
    })
    .await;
    let (_, key) = register(&app).await.create_key().await;
    let mut other = connect(&app, "127.0.0.2").await;
    assert!(ask(&mut other).await.starts_with("HTTP/1.1 200"));
    let head = |path: &str, length: usize| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: maple.test\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{{"
        )
    };
    let call = head("/v1/chat/completions", 4 << 20);
    let sign_in = head("/api/auth/login", 60 * 1024);
    let called = answer_to_endless(connect(&app, "127.0.0.3").await, &call);
    let signed_in = answer_to_endless(connect(&app, "127.0.0.4").await, &sign_in);
    let (called, signed_in, others) = tokio::join!(called, signed_in, ask(&mut other));
    assert!(others.starts_with("HTTP/1.1 200"), "{others}");
    for (answer, form) in [
        (called, r#""error":{"message":"#),
        (signed_in, r#""type":"about:blank""#),
    ] {
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(
            answer.contains(form) && answer.contains(r#""code":"body_timeout""#),
            "{answer}"
        );
    }
    assert!(ask(&mut other).await.starts_with("HTTP/1.1 200"), "the other goes on");
}

#[tokio::test]
async fn one_address_has_a_tenth_of_the_places_and_hears_so() {
    let app = start(|_| {}).await;
    let held = [
        half_a_body(&app, "127.0.0.2").await,
        half_a_body(&app, "127.0.0.2").await,
    ];
    let refused = eventually("the share to be used up", || async {
        let mut third = connect(&app, "127.0.0.2").await;
        let answer = ask(&mut third).await;
        answer.starts_with("HTTP/1.1 503").then_some(answer)
    })
    .await;
    assert!(refused.contains("retry-after: 1"), "{refused}");
    let mut other = connect(&app, "127.0.0.3").await;
    assert!(ask(&mut other).await.starts_with("HTTP/1.1 200"));
    drop(held);
    eventually("the places to come back", || async {
        let mut again = connect(&app, "127.0.0.2").await;
        ask(&mut again).await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_proxy_that_is_trusted_has_no_share() {
    let app = start(|config| config.server.trusted_proxies = vec!["127.0.0.2/32".parse().unwrap()]).await;
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(half_a_body(&app, "127.0.0.2").await);
    }
    let mut more = connect(&app, "127.0.0.2").await;
    assert!(ask(&mut more).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_full_listener_closes_those_that_do_nothing_and_answers_those_who_come() {
    let app = start(|config| {
        config.server.max_connections = 8;
        config.server.max_connections_per_address = Some(8);
    })
    .await;
    // Strangers who open connections and say nothing, or half a head.
    let mut silent = Vec::new();
    for number in 0..12 {
        let mut stream = connect(&app, "127.0.0.2").await;
        if number % 2 == 0 {
            stream.write_all(b"GET / HT").await.unwrap();
        }
        silent.push(stream);
    }
    let mut person = connect(&app, "127.0.0.3").await;
    assert!(ask(&mut person).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn with_every_place_in_use_one_hears_so_at_once_and_operations_are_served() {
    let app = start(|config| {
        config.server.max_connections = 6;
        config.server.max_connections_per_address = Some(6);
    })
    .await;
    let ops = Client::new(app.server.ops_address().unwrap());
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(half_a_body(&app, "127.0.0.2").await);
    }
    let answer = eventually("all places to be used", || async {
        let mut late = connect(&app, "127.0.0.3").await;
        let answer = ask(&mut late).await;
        answer.starts_with("HTTP/1.1 503").then_some(answer)
    })
    .await;
    assert!(answer.contains("retry-after"), "{answer}");
    ops.get("/api/health?probe=liveness").await.ok(200);
    ops.get("/metrics").await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_from_its_head_where_one_asks_first() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let (_, key) = ada.create_key().await;
    let mut stream = connect(&app, "127.0.0.2").await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: maple.test\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
         content-length: 1000000\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let small = json!({"model": "maple-chat", "messages": []}).to_string();
    let mut stream = connect(&app, "127.0.0.2").await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: maple.test\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n",
        small.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0; 25];
    soon("to be told to go on", stream.read_exact(&mut first))
        .await
        .unwrap();
    assert!(first.starts_with(b"HTTP/1.1 100"), "{first:?}");
    stream.write_all(small.as_bytes()).await.unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200"));
}
