//! Every cached class: its key, its value, its share of memory. What each is invalidated by stands in
//! [`Class`](cache::Class), and in docs/CACHING.md for people.

pub mod admin;

use std::{convert::Infallible, sync::Arc, time::Duration};

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use tokio::task::JoinError;

use crate::audit::Behind;
use crate::{completions::stored::StoredAnswer, throttle::Limit};
use cache::{Cached, Class, Key, Scope, Tiers, Value, class::Policy, json_value, key::KeyBuilder};
use configuration::CacheConfig;
use crypto::secret::Digest;
use domain::{
    account::{KeyOwner, OrganizationSettings, SessionOwner, User},
    clock::Clock,
    conversation::Conversation,
    ids::{OrganizationId, SessionId, UserId},
    page::{Cursor, Page},
    usage::UsageSums,
};
use store::StoreError;
use telemetry::context;

/// Of each user's conversations, so many of the newest are remembered: what lists show.
pub const REMEMBERED: u16 = 200;

/// The largest values that memory is made for, in bytes: something of one row, a list of [`REMEMBERED`] conversations, a
/// report of thousands of lines.
const ROW: u64 = 4 * 1024;
const LIST: u64 = 256 * 1024;
const REPORT: u64 = 1024 * 1024;

/// What an organisation's purges are counted in.
const PURGE_WINDOW: Duration = Duration::from_mins(1);

/// Cheap to clone.
#[derive(Clone)]
pub struct Caches {
    pub tiers: Tiers,
    pub sessions: Cached<SessionOwner, StoreError>,
    pub cookies: Cached<PageCookie, StoreError>,
    pub api_keys: Cached<KeyOwner, StoreError>,
    pub profiles: Cached<User, StoreError>,
    pub organizations: Cached<OrganizationSettings, StoreError>,
    pub conversations: Cached<NewestConversations, StoreError>,
    pub usage: Cached<RememberedSums, StoreError>,
    pub answers: Cached<StoredAnswer, Infallible>,
    /// Where purges are told, and everything else that is no change of the database.
    pub behind: Behind,
    /// Of organisations.
    purges: Limit,
    clock: Clock,
}

impl Caches {
    pub fn new(tiers: Tiers, config: &CacheConfig, clock: Clock) -> Self {
        let policy = |ttl, share, largest| Policy {
            ttl,
            absent_ttl: config.absent_ttl,
            memory_bytes: config.memory_bytes / 100 * share,
            largest,
        };
        let (session, query) = (config.session_ttl, config.query_ttl);
        Self {
            sessions: Cached::new(&tiers, Class::Session, policy(session, 25, ROW)),
            cookies: Cached::new(&tiers, Class::Cookie, policy(session, 15, ROW)),
            api_keys: Cached::new(&tiers, Class::ApiKey, policy(query, 15, ROW)),
            profiles: Cached::new(&tiers, Class::Profile, policy(query, 8, ROW)),
            organizations: Cached::new(&tiers, Class::Organization, policy(query, 2, ROW)),
            conversations: Cached::new(&tiers, Class::Conversations, policy(query, 20, LIST)),
            usage: Cached::new(&tiers, Class::UsageReport, policy(query, 15, REPORT)),
            answers: Cached::new(
                &tiers,
                Class::Answer,
                Policy {
                    ttl: config.answer_ttl,
                    absent_ttl: config.absent_ttl,
                    memory_bytes: config.answer_memory_bytes,
                    largest: config.answer_max_bytes,
                },
            ),
            behind: Behind::default(),
            purges: Limit::new(PURGE_WINDOW),
            clock,
            tiers,
        }
    }
}

impl Caches {
    /// Runs a write and its invalidations to completion in a task of their own, even if the caller disconnects: a cancelled
    /// caller would otherwise leave stale entries in the cache for their whole lifetime.
    pub async fn run_detached<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let running = match context::current() {
            Some(request) => self.tiers.tasks().spawn(context::within(request, work)),
            None => self.tiers.tasks().spawn(work),
        };
        match running.await.map_err(JoinError::try_into_panic) {
            Ok(outcome) => outcome,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and the caller with it.
            Err(Err(_)) => std::future::pending().await,
        }
    }
}

pub fn session_key(organization: OrganizationId, session: SessionId) -> Key {
    KeyBuilder::new(Class::Session, SessionOwner::SCHEMA, organization.into())
        .field(session.0.as_bytes())
        .build()
}

pub fn cookie_key(digest: &Digest) -> Key {
    KeyBuilder::new(Class::Cookie, PageCookie::SCHEMA, Scope::Credential)
        .field(digest)
        .build()
}

pub fn api_key_key(digest: &Digest) -> Key {
    KeyBuilder::new(Class::ApiKey, KeyOwner::SCHEMA, Scope::Credential)
        .field(digest)
        .build()
}

pub fn profile_key(organization: OrganizationId, user: UserId) -> Key {
    KeyBuilder::new(Class::Profile, User::SCHEMA, organization.into())
        .field(user.0.as_bytes())
        .build()
}

pub fn organization_key(organization: OrganizationId) -> Key {
    KeyBuilder::new(Class::Organization, OrganizationSettings::SCHEMA, organization.into()).build()
}

pub fn conversations_key(organization: OrganizationId, user: UserId) -> Key {
    KeyBuilder::new(Class::Conversations, NewestConversations::SCHEMA, organization.into())
        .field(user.0.as_bytes())
        .build()
}

/// Both days included.
pub fn usage_key(organization: OrganizationId, from: NaiveDate, to: NaiveDate) -> Key {
    KeyBuilder::new(Class::UsageReport, RememberedSums::SCHEMA, organization.into())
        .field(from.to_string())
        .field(to.to_string())
        .build()
}

/// What a page's cookie stands for. Never changes; the session is what ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageCookie {
    pub organization: OrganizationId,
    pub session: SessionId,
}

/// The newest first, and whether there are more.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NewestConversations {
    rows: Arc<[Conversation]>,
    more: bool,
}

impl From<Page<Conversation>> for NewestConversations {
    fn from(page: Page<Conversation>) -> Self {
        Self {
            more: page.next.is_some(),
            rows: page.rows.into(),
        }
    }
}

impl NewestConversations {
    /// The first page of `limit`, at most [`REMEMBERED`].
    pub fn first(&self, limit: u16) -> Page<Conversation> {
        let limit = usize::from(limit);
        let rows = self.rows[..limit.min(self.rows.len())].to_vec();
        let more = self.more || self.rows.len() > limit;
        let next = rows.last().filter(|_| more).map(|last| Cursor {
            micros: last.updated_at.timestamp_micros(),
            id: last.id.0,
        });
        Page { rows, next }
    }
}

/// Of days that are over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RememberedSums(pub Arc<UsageSums>);

json_value! {
    PageCookie, 1, _value => 0;
    NewestConversations, 1, newest => newest.rows.iter().map(weight_of_conversation).sum();
    RememberedSums, 4, sums => weight_of_sums(&sums.0);
}

fn weight_of_conversation(conversation: &Conversation) -> usize {
    let texts = [&conversation.title, &conversation.model];
    size_of::<Conversation>() + texts.into_iter().flatten().map(String::len).sum::<usize>()
}

fn weight_of_sums(sums: &UsageSums) -> usize {
    let models = sums.models.iter().map(|(model, _)| model.len()).sum::<usize>();
    let names = sums.keys.iter().filter_map(|sum| sum.name.as_ref());
    models
        + names.map(String::len).sum::<usize>()
        + size_of_val(&*sums.days)
        + size_of_val(&*sums.models)
        + size_of_val(&*sums.keys)
}

#[cfg(test)]
mod tests {
    use super::NewestConversations;
    use domain::{conversation::Conversation, ids::ConversationId, page::Page};

    #[test]
    fn a_page_of_the_remembered_goes_on_where_it_ends() {
        let row = |second| Conversation {
            id: ConversationId::generate(),
            title: None,
            model: None,
            created_at: chrono::DateTime::UNIX_EPOCH,
            updated_at: chrono::DateTime::from_timestamp(second, 0).unwrap(),
        };
        let rows: Vec<_> = [3, 2, 1].map(row).into();
        let newest = NewestConversations::from(Page {
            rows: rows.clone(),
            next: None,
        });
        assert_eq!(newest.first(3).next, None);
        assert_eq!(newest.first(9).rows, rows);
        let two = newest.first(2);
        assert_eq!((two.rows.len(), two.next.unwrap().micros), (2, 2_000_000));
        assert!(newest.first(0).rows.is_empty());
    }
}
