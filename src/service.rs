//! The rules, one file per noun. Nothing here knows HTTP, and nothing here writes SQL.

pub mod health;
pub mod readiness;

use gateway::{caches, completions, models, usage};
use people::{
    accounts, activity, answers, api_keys, audit, conversations, invitations, organizations, retention, sessions,
};

/// Every service, each a cheap clone.
#[derive(Clone)]
pub struct Services {
    pub accounts: accounts::Accounts,
    pub activity: activity::ActivityTracker,
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
