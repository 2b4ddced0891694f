//! All SQL, one file per noun. Every query names its columns, and every query over a tenant's rows takes the tenant first.

pub mod accounts;
pub mod api_keys;
pub mod conversations;
pub mod database;
pub mod diagnosis;
pub mod error;
pub mod invitations;
pub mod messages;
pub mod migrations;
pub mod sessions;
pub mod usage;

pub use database::Database;
pub use error::StoreError;

/// Runs one query on a leased connection, within the database's time limit.
macro_rules! run {
    ($db:expr, $query:expr, $method:ident) => {{
        let mut lease = $db.lease().await?;
        let outcome = $db.limit($query.$method(lease.connection())).await;
        lease.settle(outcome)
    }};
}
pub(crate) use run;

/// The tables, each behind its own handle. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub accounts: accounts::Accounts,
    pub api_keys: api_keys::ApiKeys,
    pub conversations: conversations::Conversations,
    pub invitations: invitations::Invitations,
    pub messages: messages::Messages,
    pub sessions: sessions::Sessions,
    pub usage: usage::Usage,
}

impl Store {
    pub fn new(database: &Database) -> Self {
        Self {
            accounts: accounts::Accounts(database.clone()),
            api_keys: api_keys::ApiKeys(database.clone()),
            conversations: conversations::Conversations(database.clone()),
            invitations: invitations::Invitations(database.clone()),
            messages: messages::Messages(database.clone()),
            sessions: sessions::Sessions(database.clone()),
            usage: usage::Usage(database.clone()),
        }
    }
}
