//! Connections: used again, given up, closed.

use std::{thread, time::Duration};

use tokio::time::timeout;

use super::{DONE, HELLO, LONG, SHORT, SOON, asked, events, failure, limited, next, provider, whole};
use crate::{Provider, ProviderError, exchange::tests::upstream::watch};

#[tokio::test]
async fn connections_are_used_again_and_replaced_when_they_have_gone() {
    let (address, mut connections) = watch(|number, connection| {
        // The first connection closes after three answers, the last of which is a failure.
        for status in ["200 OK", "400 Bad Request", "503 Service Unavailable"] {
            connection.request();
            connection.answer(status, "", "{}");
        }
        thread::sleep(Duration::from_millis(20));
        number
    });
    let provider = provider(address);
    whole(&provider, false).await;
    whole(&provider, false).await;
    failure(&provider, false).await;
    // A request is not sent on a connection that has been closed, even where the runtime has had no time to notice that: nothing
    // is awaited here.
    thread::sleep(Duration::from_millis(100));
    whole(&provider, false).await;
    assert_eq!(connections.recv().await, Some(0), "all three on the first connection");
}

#[tokio::test]
async fn a_reader_that_leaves_after_the_last_event_does_not_cost_the_connection() {
    for pause in [Duration::ZERO, Duration::from_millis(30)] {
        let (address, mut connections) = watch(move |_, connection| {
            let answered = (0..4).take_while(|_| {
                let asked = connection.request().is_some();
                if asked {
                    connection.begin_stream();
                    connection.chunk(format!("{HELLO}{DONE}"));
                    // The end is a packet of its own.
                    thread::sleep(pause);
                    connection.end_stream();
                }
                asked
            });
            answered.count()
        });
        let provider = provider(address);
        for _ in 0..4 {
            let mut stream = events(&provider).await;
            assert!(next(&mut stream).await.unwrap().unwrap().ends_with(DONE.as_bytes()));
            drop(stream);
            // The next call comes when this one has ended.
            tokio::time::sleep(pause * 3 + Duration::from_millis(20)).await;
        }
        assert_eq!(connections.recv().await, Some(4), "all four on the first connection");
    }
}

#[tokio::test]
async fn an_answer_that_goes_on_after_its_mark_or_never_ends_is_given_up() {
    for goes_on in [true, false] {
        let (address, mut closed) = watch(move |number, connection| {
            connection.request();
            connection.begin_stream();
            connection.chunk(format!("{HELLO}{DONE}"));
            if number > 0 {
                connection.end_stream();
                return None;
            }
            if goes_on {
                thread::sleep(Duration::from_millis(50));
                connection.chunk(HELLO);
            }
            Some(connection.closes_within(LONG))
        });
        let provider = provider(address);
        let mut stream = events(&provider).await;
        next(&mut stream).await.unwrap().unwrap();
        drop(stream);
        tokio::time::sleep(Duration::from_millis(600)).await;
        // Another call finds that out, and goes on a connection of its own.
        let mut stream = events(&provider).await;
        next(&mut stream).await.unwrap().unwrap();
        let mut found = closed.recv().await;
        // The second connection has nothing to tell.
        while found == Some(None) {
            found = closed.recv().await;
        }
        assert_eq!(found, Some(Some(true)), "{goes_on}");
    }
}

#[tokio::test]
async fn leaving_closes_the_connection() {
    let (address, mut closed) = watch(|_, connection| {
        connection.request();
        connection.closes_within(SOON)
    });
    let waited = timeout(SHORT, provider(address).send(asked(false))).await;
    assert!(waited.is_err());
    assert_eq!(closed.recv().await, Some(true), "before the head");

    let (address, mut closed) = watch(|_, connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{");
        connection.closes_within(SOON)
    });
    let waited = timeout(SHORT, provider(address).send(asked(false))).await;
    assert!(waited.is_err());
    assert_eq!(closed.recv().await, Some(true), "within the body");

    let (address, mut closed) = watch(|_, connection| {
        connection.request();
        connection.begin_stream();
        connection.chunk(HELLO);
        connection.closes_within(SOON)
    });
    let provider = provider(address);
    let mut stream = events(&provider).await;
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), HELLO);
    drop(stream);
    assert_eq!(closed.recv().await, Some(true), "within a stream");
}

/// Answers once on each connection, and closes it when it is asked again: after `half` of an answer.
fn serve_once_each(half: &'static str) -> (std::net::SocketAddr, tokio::sync::mpsc::UnboundedReceiver<usize>) {
    watch(move |_, connection| {
        connection.request();
        connection.answer("200 OK", "", "{}");
        let asked_again = connection.request().is_some();
        connection.send(half);
        1 + usize::from(asked_again)
    })
}

/// Servers close idle connections after seconds, and the next call may be on its way just then (llm-d #1564).
#[tokio::test]
async fn a_call_whose_used_connection_dies_unanswered_goes_out_once_more() {
    let (address, mut requests) = serve_once_each("");
    let provider = provider(address);
    for _ in 0..4 {
        whole(&provider, false).await;
    }
    let mut found = Vec::new();
    for _ in 0..4 {
        found.push(requests.recv().await.unwrap());
    }
    found.sort_unstable();
    assert_eq!(
        found,
        [1, 1, 2, 2],
        "two were used again, and two had the second try alone"
    );
}

#[tokio::test]
async fn a_call_is_not_made_twice_once_anything_of_its_answer_has_come() {
    let (address, _requests) = serve_once_each("HTTP/1.1 200 OK\r\ncontent-le");
    let provider = provider(address);
    whole(&provider, false).await;
    let error = failure(&provider, false).await;
    assert!(matches!(error, ProviderError::BrokenOff(_)), "{error:?}");
}

#[tokio::test]
async fn a_call_on_a_new_connection_is_not_made_twice() {
    let (address, mut requests) = watch(|_, connection| connection.request().is_some());
    let provider = provider(address);
    let error = failure(&provider, false).await;
    assert!(matches!(error, ProviderError::BrokenOff(_)), "{error:?}");
    assert_eq!(requests.recv().await, Some(true));
    assert!(requests.try_recv().is_err(), "a second connection");
}

#[tokio::test]
async fn old_and_idle_connections_are_not_used_again() {
    for is_old in [true, false] {
        let (address, mut requests) = watch(|_, connection| {
            std::iter::from_fn(|| connection.request().map(|_| connection.answer("200 OK", "", "{}"))).count()
        });
        let provider = limited(address, |config| {
            let limit = if is_old {
                &mut config.max_connection_age
            } else {
                &mut config.idle_timeout
            };
            *limit = SHORT;
        });
        whole(&provider, false).await;
        tokio::time::sleep(SHORT * 2).await;
        whole(&provider, false).await;
        assert_eq!(requests.recv().await, Some(1), "old: {is_old}");
    }
}
