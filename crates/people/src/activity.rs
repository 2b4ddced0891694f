//! How many people use the service: an organisation's first question about it.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use metrics::gauge;

use domain::{
    clock::Clock,
    ids::{OrganizationId, SessionId, UserId},
};
use store::{self, StoreError};
use telemetry::metrics::ACTIVE_USERS;

/// People noted between two writes; more are noted at their next request.
const MAX_RECORDED: usize = 100_000;

/// Cheap to clone.
#[derive(Clone)]
pub struct ActivityTracker {
    store: store::accounts::Accounts,
    counting: store::accounts::Counting,
    clock: Clock,
    seen: Arc<Mutex<HashSet<(OrganizationId, UserId)>>>,
    sessions: Arc<Mutex<HashSet<(OrganizationId, SessionId)>>>,
}

impl ActivityTracker {
    pub fn new(store: store::accounts::Accounts, counting: store::accounts::Counting, clock: Clock) -> Self {
        Self {
            store,
            counting,
            clock,
            seen: Arc::default(),
            sessions: Arc::default(),
        }
    }

    /// Somebody is at work. To be called when credentials are looked up, not for each request.
    pub fn note(&self, organization: OrganizationId, user: UserId) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < MAX_RECORDED {
            seen.insert((organization, user));
        }
    }

    /// A session is in use. To be called as `note` is.
    pub fn note_session(&self, organization: OrganizationId, session: SessionId) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() < MAX_RECORDED {
            sessions.insert((organization, session));
        }
    }

    /// Writes down who was at work, and sets the gauges of active users over all organisations. What cannot be written
    /// is noted again by the people's next requests.
    pub async fn publish(&self) -> Result<(), StoreError> {
        let seen = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        let seen: Vec<_> = seen.into_iter().collect();
        let now = self.clock.now();
        if !seen.is_empty() {
            self.store.note_active(&seen, now).await?;
        }
        let used = std::mem::take(&mut *self.sessions.lock().unwrap_or_else(PoisonError::into_inner));
        let used: Vec<_> = used.into_iter().collect();
        if !used.is_empty() {
            self.store.note_used(&used, now).await?;
        }
        let (day, week) = self.counting.active_users(now).await?;
        gauge!(ACTIVE_USERS, "window" => "day").set(day as f64);
        gauge!(ACTIVE_USERS, "window" => "week").set(week as f64);
        Ok(())
    }
}
