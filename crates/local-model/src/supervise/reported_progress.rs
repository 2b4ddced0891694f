//! Progress of the thread that fetches, as events.

use std::sync::mpsc::SyncSender;

use super::events::Event;
use crate::weights::{Progress, progress::percent};

/// Tells each percent once.
pub(super) struct ReportedProgress {
    events: SyncSender<Event>,
    percent: Option<u64>,
}

impl ReportedProgress {
    pub(super) fn new(events: SyncSender<Event>) -> Self {
        Self { events, percent: None }
    }
}

impl Progress for ReportedProgress {
    fn note(&mut self, text: &str) {
        let _ = self.events.send(Event::Note(text.to_owned()));
    }

    fn bytes(&mut self, done: u64, total: u64) {
        let now = Some(percent(done, total));
        if self.percent != now {
            self.percent = now;
            let _ = self.events.send(Event::Fetching { done, total });
        }
    }
}
