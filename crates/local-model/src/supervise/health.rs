//! Whether the server that was started answers: by the key that only it has.

use std::{
    sync::mpsc::SyncSender,
    thread,
    time::{Duration, Instant},
};

use reqwest::blocking::Client;

use super::events::{Event, Start};

const PAUSE: Duration = Duration::from_millis(100);
const ANSWER: Duration = Duration::from_secs(5);

/// Asks until it answers 200, at most until `deadline`.
pub(super) fn watch(start: Start, port: u16, key: String, deadline: Instant, events: SyncSender<Event>) {
    thread::spawn(move || {
        // On this machine: never through a proxy.
        let Ok(client) = Client::builder().no_proxy().timeout(ANSWER).build() else {
            return;
        };
        let url = format!("http://127.0.0.1:{port}/health");
        while Instant::now() < deadline {
            let healthy = client
                .get(&url)
                .bearer_auth(&key)
                .send()
                .is_ok_and(|answer| answer.status() == 200);
            if healthy {
                let _ = events.send(Event::Healthy(start));
                return;
            }
            thread::sleep(PAUSE);
        }
    });
}
