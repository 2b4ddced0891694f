//! Connections: used again, given up, closed.

use std::{thread, time::Duration};

use tokio::time::timeout;

use super::{DONE, HELLO, LONG, SHORT, SOON, asked, events, failure, next, provider, upstream::watch, whole};
use crate::provider::Provider;

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
