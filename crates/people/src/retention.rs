//! Deleting what is kept no longer.

use std::{pin::Pin, time::Duration};

use chrono::{DateTime, Utc};

use crate::{api_keys::ApiKeys, sessions::Sessions};
use configuration::RetentionConfig;
use domain::{clock::Clock, ids::OrganizationId};
use store::{self, StoreError, accounts::members::Removed};
use telemetry::metrics::RETENTION_DELETED;

/// Rows of one statement, and statements of one class in one sweep: a sweep ends, and the next goes on.
const BATCH: i64 = 200;
const BATCHES: usize = 500;

#[derive(Clone)]
pub struct Retention {
    store: store::retention::Retention,
    accounts: store::accounts::Accounts,
    sessions: Sessions,
    api_keys: ApiKeys,
    clock: Clock,
    config: RetentionConfig,
}

type Deleting<'a> = Pin<Box<dyn Future<Output = Result<u64, StoreError>> + Send + 'a>>;

impl Retention {
    pub fn new(
        store: store::retention::Retention,
        accounts: store::accounts::Accounts,
        sessions: Sessions,
        api_keys: ApiKeys,
        clock: Clock,
        config: RetentionConfig,
    ) -> Self {
        Self {
            store,
            accounts,
            sessions,
            api_keys,
            clock,
            config,
        }
    }

    pub fn interval(&self) -> Duration {
        self.config.interval
    }

    /// Deletes what is over. A class that fails is tried again by the next sweep, and holds up no other.
    pub async fn sweep(&self) {
        let (store, config) = (&self.store, &self.config);
        self.class("removed_person", || {
            Box::pin(store.of_removed_people(BATCH, self.clock.now()))
        })
        .await;
        if let Some(before) = config.conversations.and_then(|kept| self.before(kept)) {
            self.class("conversation", || {
                Box::pin(store.conversations(before, BATCH, self.clock.now()))
            })
            .await;
        }
        if let Some(before) = self.before(config.replaced_answers) {
            self.class("replaced_answer", || Box::pin(store.replaced_answers(before, BATCH)))
                .await;
        }
        if let Some(before) = self.before(config.invitations) {
            self.class("invitation", || Box::pin(store.invitations(before, BATCH)))
                .await;
        }
        if let Some(before) = self.before(config.keys) {
            self.class("key", || Box::pin(store.keys(before, BATCH))).await;
        }
        if let Some(before) = self.before(config.usage_records) {
            self.class("usage_record", || Box::pin(store.usage_records(before, BATCH)))
                .await;
        }
        if let Some(before) = self.before(config.audit_events) {
            self.class("audit_event", || {
                Box::pin(store.audit_events(before, BATCH, self.clock.now()))
            })
            .await;
        }
        self.class("audit_address", || Box::pin(store.audit_addresses(BATCH)))
            .await;
        self.organizations().await;
    }

    /// The moment that is `kept` ago; nothing where there is none.
    fn before(&self, kept: Duration) -> Option<DateTime<Utc>> {
        self.clock
            .now()
            .checked_sub_signed(chrono::Duration::from_std(kept).ok()?)
    }

    async fn class<'a>(&self, class: &'static str, delete: impl Fn() -> Deleting<'a>) {
        let mut deleted = 0;
        for _ in 0..BATCHES {
            match delete().await {
                Ok(0) => break,
                Ok(rows) => deleted += rows,
                Err(error) => {
                    tracing::warn!(target: "mapleai::retention", error = %error, class, "could not delete what is kept no longer");
                    break;
                }
            }
        }
        note(class, deleted);
    }

    /// Each by itself: one that fails holds up no other.
    async fn organizations(&self) {
        let now = self.clock.now();
        let failed = |error: &StoreError| {
            tracing::warn!(target: "mapleai::retention", error = %error, class = "organization", "could not delete what is kept no longer");
        };
        let due = self.store.due_organizations(now).await;
        for (organization, peopled) in due.inspect_err(failed).unwrap_or_default() {
            let ended = self.organization(organization, peopled, now).await;
            // Said above, or done.
            let _ = ended.inspect_err(failed);
        }
    }

    /// Whose time is over loses its people first: their sessions and keys end everywhere before the rows go that tell so.
    async fn organization(
        &self,
        organization: OrganizationId,
        peopled: bool,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        if !peopled {
            note("organization", self.store.remove_organization(organization, now).await?);
            return Ok(());
        }
        for _ in 0..BATCHES {
            let (Removed { sessions, keys }, are_more) = self.accounts.erase_some(organization, now).await?;
            tokio::join!(
                self.sessions.note_ended(organization, &sessions),
                self.api_keys.note_revoked(&keys)
            );
            tracing::warn!(target: "mapleai::security", organization_id = %organization, sessions = sessions.len(), keys = keys.len(), "people of a deleted organization erased");
            if !are_more {
                break;
            }
        }
        Ok(())
    }
}

fn note(class: &'static str, deleted: u64) {
    if deleted > 0 {
        metrics::counter!(RETENTION_DELETED, "class" => class).increment(deleted);
        tracing::info!(target: "mapleai::retention", class, deleted, "deleted what is kept no longer");
    }
}
