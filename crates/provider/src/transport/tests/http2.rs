//! HTTP/2: streams end by themselves, connections by `GOAWAY`, by age or in silence.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, server::SendResponse};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};

use super::{
    LONG, SHORT, all_at_once, h2 as prior_knowledge, plain, send,
    servers::{answer_with, listen, serve_h2},
    until, whole, with_ping,
};
use crate::ProviderError;

fn ok(respond: &mut SendResponse<Bytes>, is_end: bool) -> h2::SendStream<Bytes> {
    let head = Response::builder().status(StatusCode::OK).body(()).unwrap();
    respond.send_response(head, is_end).unwrap()
}

/// Serves streams by hand: `answer` has the path, and what is left of the stream lives in `kept`.
async fn by_hand(stream: TcpStream, mut answer: impl FnMut(&str, SendResponse<Bytes>)) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        answer(request.uri().path(), respond);
    }
}

#[tokio::test]
async fn a_stream_that_is_reset_ends_no_other() {
    let (go, reset) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicBool::new(false)));
    let (address, connections) = {
        let (go, reset) = (Arc::clone(&go), Arc::clone(&reset));
        listen(move |_, stream| {
            let (go, reset) = (Arc::clone(&go), Arc::clone(&reset));
            by_hand(stream, move |path, mut respond| {
                let mut body = ok(&mut respond, false);
                body.send_data(Bytes::from_static(b"begun"), false).unwrap();
                let (path, go, reset) = (path.to_owned(), Arc::clone(&go), Arc::clone(&reset));
                tokio::spawn(async move {
                    match &*path {
                        "/reset" => body.send_reset(Reason::INTERNAL_ERROR),
                        "/left" => {
                            let reason = std::future::poll_fn(|context| body.poll_reset(context)).await;
                            reset.store(reason.unwrap() == Reason::CANCEL, Ordering::SeqCst);
                        }
                        _ => {
                            go.acquire().await.unwrap().forget();
                            body.send_data(Bytes::from_static(b" and ended"), true).unwrap();
                        }
                    }
                });
            })
        })
        .await
    };
    let transport = plain(address, prior_knowledge);
    let going_on = send(&transport, address, "/").await.unwrap();
    let broken = send(&transport, address, "/reset").await.unwrap();
    whole(broken).await.unwrap_err();
    // Ours that is given up reaches the server as a reset of that stream.
    let mut left = send(&transport, address, "/left").await.unwrap().into_body();
    left.frame().await.unwrap().unwrap();
    drop(left);
    until("a reset", || reset.load(Ordering::SeqCst)).await;
    go.add_permits(1);
    assert_eq!(whole(going_on).await.unwrap().1, "begun and ended");
    assert_eq!(connections.opened(), 1);
}

#[tokio::test]
async fn a_call_that_the_server_refused_unread_goes_out_once_more() {
    let refused = Arc::new(AtomicUsize::new(0));
    let (address, connections) = {
        let refused = Arc::clone(&refused);
        listen(move |number, stream| {
            let refused = Arc::clone(&refused);
            by_hand(stream, move |path, mut respond| {
                if number == 0 || path == "/always" {
                    refused.fetch_add(1, Ordering::SeqCst);
                    respond.send_reset(Reason::REFUSED_STREAM);
                } else {
                    ok(&mut respond, true);
                }
            })
        })
        .await
    };
    let transport = plain(address, prior_knowledge);
    whole(send(&transport, address, "/").await.unwrap()).await.unwrap();
    assert_eq!((refused.load(Ordering::SeqCst), connections.opened()), (1, 2));
    let error = send(&transport, address, "/always").await.err().unwrap();
    assert!(matches!(error, ProviderError::BrokenOff(_)), "{error:?}");
    assert_eq!(refused.load(Ordering::SeqCst), 3, "twice, and not for ever");
}

#[tokio::test]
async fn what_was_begun_is_not_made_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let (address, _) = {
        let asked = Arc::clone(&asked);
        listen(move |_, stream| {
            let asked = Arc::clone(&asked);
            by_hand(stream, move |_, mut respond| {
                asked.fetch_add(1, Ordering::SeqCst);
                respond.send_reset(Reason::INTERNAL_ERROR);
            })
        })
        .await
    };
    let error = send(&plain(address, prior_knowledge), address, "/")
        .await
        .err()
        .unwrap();
    assert!(matches!(error, ProviderError::BrokenOff(_)), "{error:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

/// What nginx (`keepalive_requests`), Envoy and balancers do, in the middle of traffic (cloudflare/cloudflared #1273, envoyproxy/envoy #36450):
/// of eight calls at the same time, three are answered on each connection, and the rest left out.
#[tokio::test]
async fn goaway_in_the_middle_of_traffic_costs_no_call() {
    const EACH: usize = 3;
    let (address, connections) = listen(|_, stream| async {
        let Ok(mut connection) = h2::server::handshake(stream).await else {
            return;
        };
        let mut count = 0;
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            count += 1;
            if count > EACH {
                // Left out: what came after the last stream that the server names.
                respond.send_reset(Reason::REFUSED_STREAM);
                continue;
            }
            if count == EACH {
                connection.graceful_shutdown();
            }
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(3)).await;
                if let Ok(mut body) = respond.send_response(Response::new(()), false) {
                    let _ = body.send_data(Bytes::from_static(b"done"), true);
                }
            });
        }
    })
    .await;
    let transport = plain(address, prior_knowledge);
    for round in 0..10 {
        for answer in all_at_once(&transport, address, 8).await {
            assert_eq!(answer.unwrap(), "done", "round {round}");
        }
    }
    assert!(connections.opened() > 10, "{}", connections.opened());
    drop(transport);
    until("all connections closed", || connections.open() == 0).await;
}

/// A frame header: length, type, flags, stream.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The last stream that was looked at is 0 here: none.
#[tokio::test]
async fn a_call_that_goaway_leaves_out_goes_out_on_another_connection() {
    let (address, connections) = listen(|number, mut stream| async move {
        // The second connection is at its end as well.
        if number > 1 {
            return serve_h2(stream, |_| answer_with("answered")).await;
        }
        stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
        let mut read = Vec::new();
        // Frame type 1: the request's head.
        while !has_headers(&read) {
            if stream.read_buf(&mut read).await.unwrap() == 0 {
                return;
            }
        }
        stream.write_all(&frame(7, 0, 0, &[0; 8])).await.unwrap();
        let _ = stream.read_to_end(&mut read).await;
    })
    .await;
    let transport = plain(address, prior_knowledge);
    let response = send(&transport, address, "/").await.unwrap();
    assert_eq!(whole(response).await.unwrap().1, "answered");
    assert_eq!(connections.opened(), 3);
}

fn has_headers(read: &[u8]) -> bool {
    const PREFACE: usize = 24;
    let mut at = PREFACE;
    while let Some(head) = read.get(at..at + 9) {
        if head[3] == 1 {
            return true;
        }
        at += 9 + u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    }
    false
}

#[tokio::test]
async fn a_connection_carries_as_many_calls_as_servers_allow_and_the_rest_have_another() {
    let (address, connections) = listen(|_, stream| {
        serve_h2(stream, |_| async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            answer_with("done").await
        })
    })
    .await;
    let transport = plain(address, prior_knowledge);
    // The first answer says that it is HTTP/2.
    all_at_once(&transport, address, 1).await.remove(0).unwrap();
    assert_eq!(connections.opened(), 1);
    for answer in all_at_once(&transport, address, 150).await {
        answer.unwrap();
    }
    assert_eq!(connections.opened(), 2);
    for answer in all_at_once(&transport, address, 50).await {
        answer.unwrap();
    }
    assert_eq!(connections.opened(), 2);
}

#[tokio::test]
async fn an_old_connection_finishes_its_streams_and_takes_no_more() {
    let go = Arc::new(Semaphore::new(0));
    let (address, connections) = {
        let go = Arc::clone(&go);
        listen(move |_, stream| {
            let go = Arc::clone(&go);
            serve_h2(stream, move |request| {
                let go = Arc::clone(&go);
                async move {
                    if request.uri().path() == "/slow" {
                        go.acquire().await.unwrap().forget();
                    }
                    answer_with("done").await
                }
            })
        })
        .await
    };
    let transport = plain(address, |config| {
        prior_knowledge(config);
        config.max_connection_age = SHORT;
    });
    let slow = send(&transport, address, "/slow");
    let others = async {
        tokio::time::sleep(SHORT * 2).await;
        let response = send(&transport, address, "/").await.unwrap();
        whole(response).await.unwrap();
        let counts = (connections.opened(), connections.open());
        go.add_permits(1);
        counts
    };
    let (slow, counts) = futures_util::future::join(slow, others).await;
    assert_eq!(counts, (2, 2));
    assert_eq!(whole(slow.unwrap()).await.unwrap().1, "done");
    until("the old one closed", || connections.open() == 1).await;
}

/// A host that has gone without a word, as a NAT or balancer makes of one that it forgot.
#[tokio::test]
async fn a_server_that_gives_no_sign_of_life_is_given_up() {
    let (address, _) = listen(|number, mut stream| async move {
        if number > 0 {
            return serve_h2(stream, |_| answer_with("alive")).await;
        }
        stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
        // Reads all, and answers nothing: no ping either.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let transport = with_ping(address, SHORT, prior_knowledge);
    let error = timeout(LONG / 2, send(&transport, address, "/"))
        .await
        .unwrap()
        .err()
        .unwrap();
    assert!(matches!(error, ProviderError::BrokenOff(_)), "{error:?}");
    let response = send(&transport, address, "/").await.unwrap();
    assert_eq!(whole(response).await.unwrap().1, "alive");
}
