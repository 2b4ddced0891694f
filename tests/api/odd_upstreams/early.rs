//! A server that answers before it has read the request, and closes: common for 413 (nginx's `client_max_body_size`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{CHAT, ask};
use crate::support::{TestApp, accounts::register};

const WORDS: &str =
    r#"{"error":{"message":"too long for us","type":"invalid_request_error","param":null,"code":"too_large"}}"#;

/// How a server ends a request that it does not read.
#[derive(Clone, Copy)]
enum Ending {
    /// All of the answer, and the connection closed at once, which the other side sees as a reset.
    Whole,
    /// The same, some time after the answer.
    Later,
    /// The answer has no length: the reset is all there is of its end.
    WithoutLength,
}

const ENDINGS: [Ending; 3] = [Ending::Whole, Ending::Later, Ending::WithoutLength];

async fn refuse(mut stream: TcpStream, asked: Arc<AtomicUsize>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap() == 0 {
            return;
        }
    }
    // Others ask for the list of models.
    if !head.starts_with(b"POST") {
        return;
    }
    let ending = ENDINGS[asked.fetch_add(1, Ordering::Relaxed) % ENDINGS.len()];
    let length = match ending {
        Ending::WithoutLength => String::new(),
        Ending::Whole | Ending::Later => format!("content-length: {}\r\n", WORDS.len()),
    };
    let answer = format!(
        "HTTP/1.1 413 Content Too Large\r\ncontent-type: application/json\r\nconnection: close\r\n{length}\r\n{WORDS}"
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    if let Ending::Later = ending {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_that_comes_before_the_request_was_read_reaches_the_caller() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let asked = Arc::<AtomicUsize>::default();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(refuse(stream, Arc::clone(&asked)));
        }
    });
    let app = TestApp::start_with(|config| {
        config.server.body_limit = 16 << 20;
        let fake = config.providers.get_mut("fake").unwrap();
        fake.base_url = Some(format!("http://{address}/v1").parse().unwrap());
    })
    .await;
    let program = register(&app).await.program().await;
    // More than all buffers on the way take.
    let long = "x".repeat(12 << 20);
    for number in 0..12 {
        let mut body = ask(number % 2 == 0);
        body["messages"][0]["content"] = json!(long);
        let answer = program.post(CHAT, &body).await;
        assert_eq!(answer.status, 413, "{number}: {}", answer.text());
        assert!(answer.json()["error"]["message"].is_string(), "{number}");
        if number % 3 < 2 {
            assert_eq!(answer.text(), WORDS, "{number}");
        }
    }
}
