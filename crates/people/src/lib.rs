//! The people's side: accounts, sessions, keys, invitations, conversations and the answers in them.
//!
//! The rules, one file per noun. Nothing here knows HTTP, and nothing here writes SQL.

pub mod accounts;
pub mod activity;
pub mod answers;
pub mod api_keys;
pub mod audit;
pub mod conversations;
pub mod invitations;
pub mod look_back;
pub mod organizations;
pub mod retention;
pub mod sessions;
pub mod titles;
pub mod unknown_credentials;
