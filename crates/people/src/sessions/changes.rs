//! What changes about sessions by other hands: roles, and what other processes did.

use std::collections::{HashMap, HashSet};

use chrono::TimeDelta;

use super::{SessionError, Sessions};
use crate::look_back::Pages;
use cache::Class;
use domain::ids::{OrganizationId, UserId};
use domain::principal::Credential;
use gateway::caches;

/// Older ends have been spread by others long ago.
const RECENT: TimeDelta = TimeDelta::minutes(10);
/// Entries forgotten with one wait: after a start there may be a day's worth.
const MAX_INVALIDATED: usize = 500;

impl Sessions {
    /// A user's role has changed: the next request looks it up again. Where the database cannot tell any more which sessions
    /// are the user's, all of the organisation's are looked up again.
    pub async fn forget_user(&self, organization: OrganizationId, user: UserId) {
        if let Ok(sessions) = self.store.of_user(organization, user, self.clock.now()).await {
            let keys: Vec<_> = sessions
                .into_iter()
                .map(|session| caches::session_key(organization, session))
                .collect();
            self.caches.sessions.invalidate(&keys).await;
        } else {
            self.caches.forget_sessions(organization).await;
        }
    }

    /// Takes note of whom other processes gave another role or name, or did so and died before they could tell: sessions
    /// carry the role. `back` is how far the look goes back.
    pub async fn take_note_of_changed(&self, back: TimeDelta, pages: Pages) -> Result<(), SessionError> {
        let now = self.clock.now();
        let page = |last, rows| self.store.changed_since(now - back, now, last, rows);
        let found = pages.read(page).await?;
        let mut latest = HashMap::new();
        let (mut profiles, mut sessions) = (HashSet::new(), Vec::new());
        for change in found.rows {
            if self.changed.get(&change.user) == Some(change.at) {
                continue;
            }
            latest.insert(change.user, change.at);
            profiles.insert(caches::profile_key(change.organization, change.user));
            sessions.extend(
                change
                    .session
                    .map(|session| caches::session_key(change.organization, session)),
            );
        }
        let profiles: Vec<_> = profiles.into_iter().collect();
        for some in sessions.chunks(MAX_INVALIDATED) {
            self.caches.sessions.invalidate(some).await;
        }
        for some in profiles.chunks(MAX_INVALIDATED) {
            self.caches.profiles.invalidate(some).await;
        }
        if found.is_cut {
            self.caches.forget_class(Class::Session, "changed people").await;
            self.caches.forget_class(Class::Profile, "changed people").await;
        }
        for (user, at) in latest {
            self.changed.insert(user, at);
        }
        Ok(())
    }

    /// Takes note of what other processes ended, from the database, which nobody can sign out without: so that it is known
    /// here even if no message came. `back` is how far the look goes back.
    pub async fn take_note_of_ended(&self, back: TimeDelta, pages: Pages) -> Result<(), SessionError> {
        let since = self.clock.now() - back;
        let page = |last, rows| self.store.ended_since(since, last, rows);
        let found = pages.read(page).await?;
        let mut keys = Vec::new();
        for end in found.rows {
            let (organization, session) = (end.organization, end.session);
            if !self.ended.contains_key(&session) {
                self.ended.insert(session, ());
                self.live.end(Credential::Session(session));
                keys.push(caches::session_key(organization, session));
            }
        }
        // What ended long ago is out of Redis, or never believed again by this process; only what is new is spread.
        if back <= RECENT && !keys.is_empty() {
            self.caches.sessions.invalidate(&keys).await;
        }
        if found.is_cut {
            self.caches.forget_class(Class::Session, "ended sessions").await;
        }
        Ok(())
    }
}
