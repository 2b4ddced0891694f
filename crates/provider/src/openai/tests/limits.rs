//! What each limit catches.

use std::{
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use super::{HELLO, ROLE, SHORT, config, events, failure, limited, next, provider, whole};
use crate::{
    ProviderError, Stage,
    exchange::{LARGEST_ANSWER, tests::upstream::serve},
    openai::OpenAiProvider,
};
use concurrency::write_coalescing::MAX_BUFFERED_BYTES;
use llm::sse;

#[tokio::test]
async fn an_unreachable_upstream_is_told_from_a_silent_one() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = failure(&provider(free), false).await;
    assert!(matches!(error, ProviderError::Unreachable(_)), "{error:?}");

    // Takes the TCP connection, and never shakes hands.
    let silent = serve(|_, connection| connection.stall());
    let mut config = config(&format!("https://{silent}/v1"));
    config.connect_timeout = SHORT;
    let error = failure(&OpenAiProvider::new("tls", &config).unwrap(), false).await;
    assert!(
        matches!(error, ProviderError::ConnectTimeout(limit) if limit == SHORT),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_host_that_takes_no_connection_runs_into_the_connect_timeout() {
    // With its queue full and nobody accepting, the kernel no longer answers.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let _queued: Vec<_> = (0..4)
        .map_while(|_| std::net::TcpStream::connect_timeout(&address, SHORT).ok())
        .collect();
    let error = failure(&limited(address, |config| config.connect_timeout = SHORT), false).await;
    assert!(
        matches!(error, ProviderError::ConnectTimeout(limit) if limit == SHORT),
        "{error:?}"
    );
}

#[tokio::test]
async fn silence_runs_into_the_first_byte_timeout_or_the_total_if_that_is_less() {
    let silent = serve(|_, connection| {
        connection.request();
        connection.stall();
    });
    let error = failure(&limited(silent, |config| config.first_byte_timeout = SHORT), true).await;
    assert!(
        matches!(error, ProviderError::FirstByteTimeout(limit) if limit == SHORT),
        "{error:?}"
    );
    // An answer that is not streamed comes when all of it is done.
    let error = failure(&limited(silent, |config| config.whole_timeout = SHORT), false).await;
    assert!(
        matches!(error, ProviderError::TotalTimeout(limit) if limit == SHORT),
        "{error:?}"
    );
    for stream in [false, true] {
        let error = failure(&limited(silent, |config| config.total_timeout = SHORT), stream).await;
        assert!(
            matches!(error, ProviderError::TotalTimeout(limit) if limit == SHORT),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_stream_that_never_starts_runs_into_the_first_byte_timeout() {
    let address = serve(|_, connection| {
        connection.request();
        connection.begin_stream();
        connection.stall();
    });
    let mut stream = events(&limited(address, |config| config.first_byte_timeout = SHORT)).await;
    let error = next(&mut stream).await.unwrap().unwrap_err();
    assert!(
        matches!(error, ProviderError::FirstByteTimeout(limit) if limit == SHORT),
        "{error:?}"
    );
    assert!(next(&mut stream).await.is_none());
}

/// Claude Code's and other clients' reasoning models greet, and then think (openclaw/openclaw #64432).
#[tokio::test]
async fn a_greeting_starts_no_clock_but_that_of_the_first_content() {
    for greeting in [ROLE, ": processing\n\n"] {
        let address = serve(move |_, connection| {
            connection.request();
            connection.begin_stream();
            connection.chunk(greeting);
            thread::sleep(SHORT * 3);
            connection.chunk(HELLO);
            connection.stall();
        });
        let mut stream = events(&limited(address, |config| config.chunk_timeout = SHORT)).await;
        assert_eq!(next(&mut stream).await.unwrap().unwrap(), greeting);
        assert_eq!(next(&mut stream).await.unwrap().unwrap(), HELLO);

        let mut stream = events(&limited(address, |config| config.first_content_timeout = SHORT)).await;
        assert_eq!(next(&mut stream).await.unwrap().unwrap(), greeting);
        let error = next(&mut stream).await.unwrap().unwrap_err();
        assert!(
            matches!(error, ProviderError::FirstContentTimeout(limit) if limit == SHORT),
            "{error:?}"
        );
    }
    // The same where the answer is not streamed: white space is a sign of life.
    for greeting in ["", " \n"] {
        let address = serve(move |_, connection| {
            connection.request();
            connection.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            if !greeting.is_empty() {
                connection.chunk(greeting);
            }
            thread::sleep(SHORT * 3);
            connection.chunk("{}");
            connection.end_stream();
        });
        let patient = limited(address, |config| {
            config.first_byte_timeout = SHORT;
            config.chunk_timeout = SHORT;
        });
        assert_eq!(whole(&patient, false).await.2.trim_ascii(), b"{}");
    }
}

/// maximhq/bifrost #6784: a finish reason, and then comments for ever.
#[tokio::test]
async fn an_answer_that_has_finished_ends_whatever_follows() {
    for pings in [true, false] {
        let address = serve(move |_, connection| {
            connection.request();
            connection.begin_stream();
            connection.chunk(HELLO);
            for _ in 0..200 {
                if pings {
                    connection.chunk(": ping\n\n");
                }
                thread::sleep(Duration::from_millis(10));
            }
        });
        let mut stream = events(&limited(address, |config| config.chunk_timeout = SHORT)).await;
        assert_eq!(next(&mut stream).await.unwrap().unwrap(), HELLO);
        stream.as_mut().reached(Stage::Finished);
        let mut seen = 0;
        while let Some(item) = next(&mut stream).await {
            assert!(item.unwrap().starts_with(b": ping"));
            seen += 1;
        }
        assert!(seen < 200, "it was listened to until it had no more to say");
    }
}

#[tokio::test]
async fn a_caller_is_sent_comments_while_the_upstream_is_silent() {
    let address = serve(|_, connection| {
        connection.request();
        connection.begin_stream();
        thread::sleep(SHORT * 4);
        connection.chunk(HELLO);
        connection.stall();
    });
    let mut provider = provider(address);
    provider.server.limits.keep_alive = SHORT;
    let mut stream = events(&provider).await;
    for _ in 0..2 {
        assert_eq!(next(&mut stream).await.unwrap().unwrap(), sse::KEEP_ALIVE);
    }
    loop {
        let item = next(&mut stream).await.unwrap().unwrap();
        if item != sse::KEEP_ALIVE {
            assert_eq!(item, HELLO);
            break;
        }
    }
}

#[tokio::test]
async fn a_pause_runs_into_the_chunk_timeout() {
    let address = serve(|_, connection| {
        connection.request();
        connection.begin_stream();
        // Longer together than the limit, and no pause as long as it.
        for _ in 0..5 {
            connection.chunk(HELLO);
            thread::sleep(SHORT / 3);
        }
        connection.stall();
    });
    let mut stream = events(&limited(address, |config| config.chunk_timeout = SHORT)).await;
    for _ in 0..5 {
        assert_eq!(next(&mut stream).await.unwrap().unwrap(), HELLO);
        stream.as_mut().reached(Stage::Content);
    }
    let error = next(&mut stream).await.unwrap().unwrap_err();
    assert!(
        matches!(error, ProviderError::ChunkTimeout(limit) if limit == SHORT),
        "{error:?}"
    );

    let address = serve(|_, connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{");
        connection.stall();
    });
    let error = failure(&limited(address, |config| config.chunk_timeout = SHORT), false).await;
    assert!(
        matches!(error, ProviderError::ChunkTimeout(limit) if limit == SHORT),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_endless_answer_runs_into_the_total_timeout() {
    let address = serve(|_, connection| {
        connection.request();
        connection.begin_stream();
        for _ in 0..400 {
            connection.chunk(HELLO);
            thread::sleep(Duration::from_millis(10));
        }
    });
    let provider = limited(address, |config| config.total_timeout = SHORT);
    let mut stream = events(&provider).await;
    let error = loop {
        match next(&mut stream).await.unwrap() {
            Ok(item) => assert!(item.starts_with(HELLO.as_bytes())),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, ProviderError::TotalTimeout(limit) if limit == SHORT),
        "{error:?}"
    );
    let error = failure(&provider, false).await;
    assert!(
        matches!(error, ProviderError::TotalTimeout(limit) if limit == SHORT),
        "{error:?}"
    );
}

#[tokio::test]
async fn answers_beyond_the_limits_are_refused() {
    let address = serve(|_, connection| {
        connection.request();
        connection.send(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
            LARGEST_ANSWER + 1
        ));
        connection.stall();
    });
    let error = failure(&provider(address), false).await;
    assert!(matches!(error, ProviderError::BadReply(_)), "promised: {error:?}");

    let address = serve(|_, connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        let piece = vec![b'x'; 1024 * 1024];
        for _ in 0..=LARGEST_ANSWER / piece.len() {
            connection.chunk(&piece);
        }
        connection.stall();
    });
    let error = failure(&provider(address), false).await;
    assert!(matches!(error, ProviderError::BadReply(_)), "sent: {error:?}");

    let address = serve(|_, connection| {
        connection.request();
        connection.begin_stream();
        let piece = vec![b'x'; 1024 * 1024];
        for _ in 0..=sse::MAX_EVENT / piece.len() {
            connection.chunk(&piece);
        }
        connection.stall();
    });
    let error = next(&mut events(&provider(address)).await).await.unwrap().unwrap_err();
    assert!(matches!(error, ProviderError::BadReply(_)), "an event: {error:?}");
}

#[tokio::test]
async fn the_head_of_an_answer_is_bounded() {
    let address = |length: usize| {
        serve(move |_, connection| {
            connection.request();
            connection.answer("200 OK", &format!("x-padding: {}\r\n", "x".repeat(length)), "{}");
        })
    };
    let (status, ..) = whole(&provider(address(MAX_BUFFERED_BYTES / 2)), false).await;
    assert_eq!(status, 200);
    let error = failure(&provider(address(2 * MAX_BUFFERED_BYTES)), false).await;
    assert!(
        matches!(error, ProviderError::BadReply("its head is too large")),
        "{error:?}"
    );
}

/// Silence is death only where signs of life are promised.
#[tokio::test]
async fn a_server_that_gives_signs_of_life_is_given_up_when_they_stop() {
    let address = serve(|_, connection| {
        connection.request();
        connection.begin_stream();
        for _ in 0..4 {
            connection.chunk(": reading\n\n");
            std::thread::sleep(SHORT / 2);
        }
        connection.stall();
    });
    let lively = limited(address, |config| {
        config.kind = configuration::ProviderKind::Local;
        config.chunk_timeout = SHORT;
    });
    let mut stream = events(&lively).await;
    let error = loop {
        match next(&mut stream).await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("it ended"),
        }
    };
    assert!(
        matches!(error, ProviderError::ChunkTimeout(limit) if limit == SHORT),
        "{error:?}"
    );
}
