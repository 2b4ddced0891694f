//! The rules, one file per noun. Nothing here knows HTTP, and nothing here writes SQL.

pub mod accounts;
pub mod activity;
pub mod admission;
pub mod answers;
pub mod api_keys;
pub mod audit;
pub mod caches;
pub mod completions;
pub mod conversations;
pub mod field;
pub mod health;
pub mod invitations;
pub mod live_calls;
pub mod look_back;
pub mod models;
pub mod organizations;
pub mod readiness;
pub mod retention;
pub mod sessions;
pub mod throttle;
pub mod titles;
pub mod unknown_credentials;
pub mod usage;

/// Every service, each a cheap clone.
#[derive(Clone)]
pub struct Services {
    pub accounts: accounts::Accounts,
    pub activity: activity::Activity,
    pub answers: answers::Answers,
    pub api_keys: api_keys::ApiKeys,
    pub audit: audit::Audit,
    pub caches: caches::Caches,
    pub completions: completions::Completions,
    pub conversations: conversations::Conversations,
    pub invitations: invitations::Invitations,
    pub models: models::Models,
    pub organizations: organizations::Organizations,
    pub retention: retention::Retention,
    pub sessions: sessions::Sessions,
    pub usage: usage::Usage,
}
