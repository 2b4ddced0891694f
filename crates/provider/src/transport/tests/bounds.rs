//! The bounds on connections, in number and age, and what a call that finds none waits for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Semaphore,
};

use super::{
    LONG, SHORT, SentMark, all_at_once, plain, request, send,
    servers::{answer_with, listen, serve_h1},
    until, whole,
};
use crate::ProviderError;

#[tokio::test]
async fn no_more_connections_are_open_than_allowed_and_every_call_has_one() {
    let (address, connections) = listen(|_, stream| {
        serve_h1(stream, |_| async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            answer_with("done").await
        })
    })
    .await;
    let transport = plain(address, |config| config.max_connections = 3);
    for answer in all_at_once(&transport, address, 30).await {
        assert_eq!(answer.unwrap(), "done");
    }
    assert!(connections.peak() <= 3, "{}", connections.peak());
    assert!(connections.opened() >= 2, "{}", connections.opened());
}

#[tokio::test]
async fn a_call_that_finds_all_connections_in_use_waits_and_is_refused_in_time() {
    let go = Arc::new(Semaphore::new(0));
    let (address, connections) = {
        let go = Arc::clone(&go);
        listen(move |_, stream| {
            let go = Arc::clone(&go);
            serve_h1(stream, move |_| {
                let go = Arc::clone(&go);
                async move {
                    go.acquire().await.unwrap().forget();
                    answer_with("done").await
                }
            })
        })
        .await
    };
    let transport = plain(address, |config| {
        config.max_connections = 1;
        config.connect_timeout = SHORT;
    });
    let mark = SentMark::default();
    let first = send(&transport, address, "/");
    let second = async {
        until("the first is there", || connections.open() == 1).await;
        let refused = transport
            .send(|| request(format_args!("http://{address}"), "/"), &mark)
            .await;
        // Another comes later, and has the connection when the first is done with it.
        let third = send(&transport, address, "/");
        let freed = async {
            tokio::time::sleep(SHORT / 3).await;
            go.add_permits(2);
        };
        (refused.err().unwrap(), futures_util::future::join(third, freed).await.0)
    };
    let first = async { whole(first.await.unwrap()).await };
    let (first, (refused, third)) = futures_util::future::join(first, second).await;
    assert!(
        matches!(refused, ProviderError::NoConnection { max: 1, waited } if waited == SHORT),
        "{refused:?}"
    );
    assert!(!mark.is_set(), "nothing of it was sent");
    assert!(!refused.has_reached() && refused.is_ours() && !refused.is_timeout());
    assert_eq!(first.unwrap().1, "done");
    assert_eq!(whole(third.unwrap()).await.unwrap().1, "done");
    assert_eq!(connections.peak(), 1);
}

/// A call that is given up frees its connection's slot, and one whose connection fails as well.
#[tokio::test]
async fn a_slot_comes_back_whatever_became_of_its_connection() {
    let drops = Arc::new(AtomicBool::new(true));
    let (address, connections) = {
        let drops = Arc::clone(&drops);
        listen(move |_, stream| {
            let drops = drops.load(Ordering::SeqCst);
            async move {
                if !drops {
                    serve_h1(stream, |_| async {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        answer_with("done").await
                    })
                    .await;
                }
            }
        })
        .await
    };
    let transport = plain(address, |config| config.max_connections = 1);
    for _ in 0..3 {
        send(&transport, address, "/").await.err().unwrap();
    }
    drops.store(false, Ordering::SeqCst);
    for _ in 0..3 {
        let given_up = tokio::time::timeout(Duration::from_millis(20), send(&transport, address, "/")).await;
        assert!(given_up.is_err());
    }
    whole(send(&transport, address, "/").await.unwrap()).await.unwrap();
    drop(transport);
    until("all closed", || connections.open() == 0).await;
}

/// TykTechnologies/tyk #1485: connections that are never idle must end as well, or a name that has moved is never looked up again.
#[tokio::test]
async fn connections_end_at_their_age_under_steady_traffic_too() {
    let (address, connections) = listen(|_, stream| serve_h1(stream, |_| answer_with("done"))).await;
    let transport = plain(address, |config| config.max_connection_age = SHORT);
    let started = std::time::Instant::now();
    while started.elapsed() < SHORT * 4 {
        whole(send(&transport, address, "/").await.unwrap()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // No more than one for each age that has passed.
    let opened = connections.opened();
    assert!((3..=5).contains(&opened), "{opened}");
    until("the old ones closed", || connections.open() == 1).await;
}

/// Soul-Brews-Studio/maw-js #2658: a server that closes idle connections so soon that calls meet it. Each of them is answered.
#[tokio::test]
async fn calls_that_meet_a_server_closing_its_idle_connections_are_answered() {
    const IDLE: Duration = Duration::from_millis(4);
    let (address, connections) = listen(|_, mut stream| async move {
        let mut buffer = [0; 4096];
        let mut idle = LONG;
        while let Ok(Ok(read)) = tokio::time::timeout(idle, stream.read(&mut buffer)).await {
            if read == 0 {
                return;
            }
            idle = IDLE;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone";
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    })
    .await;
    let transport = plain(address, |_| {});
    for number in 0..150_u64 {
        // From well within the limit to beyond it.
        tokio::time::sleep(Duration::from_micros(3000 + 20 * number)).await;
        for answer in all_at_once(&transport, address, 4).await {
            assert_eq!(answer.unwrap(), "done");
        }
    }
    assert!(connections.opened() > 4, "{}", connections.opened());
}
