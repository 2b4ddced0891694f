//! Refuses connections without a free slot with a response: silence would look like an outage, and clients would wait.

use std::{sync::Arc, time::Duration};

use metrics::{Counter, counter};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
};

use super::connection_slots::NoFreeSlot;
use crate::lifecycle::Lifecycle;
use telemetry::metrics::REFUSALS;

/// Refusals at a time; further connections are closed without a response.
const AT_A_TIME: usize = 64;
/// Time for the response to arrive: closing a socket with unread data discards the response.
const LINGER: Duration = Duration::from_millis(500);
const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\n\
    content-length: 37\r\nretry-after: 1\r\nconnection: close\r\n\r\nToo many connections. Try again soon.";

pub(super) struct Refusals {
    permits: Arc<Semaphore>,
    address: Counter,
    process: Counter,
}

impl Refusals {
    pub(super) fn new() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(AT_A_TIME)),
            address: counter!(REFUSALS, "reason" => "connections_of_address"),
            process: counter!(REFUSALS, "reason" => "connections"),
        }
    }

    pub(super) fn refuse(&self, mut stream: TcpStream, why: NoFreeSlot, lifecycle: &Lifecycle) {
        match why {
            NoFreeSlot::Address => self.address.increment(1),
            NoFreeSlot::Process => self.process.increment(1),
        }
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            return;
        };
        lifecycle.connections.spawn(async move {
            let telling = async {
                stream.write_all(ANSWER).await?;
                stream.shutdown().await?;
                let mut rest = [0; 1024];
                while stream.read(&mut rest).await? > 0 {}
                Ok::<_, std::io::Error>(())
            };
            let _ = tokio::time::timeout(LINGER, telling).await;
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::ANSWER;

    #[test]
    fn the_answer_is_as_long_as_it_says() {
        let text = std::str::from_utf8(ANSWER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}\r\n", body.len())),
            "{}",
            body.len()
        );
    }
}
