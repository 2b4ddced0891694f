//! All SQL, one file per noun. Every query names its columns, and every query over a tenant's rows takes the tenant first.

pub mod accounts;
pub mod api_keys;
pub mod audit;
pub mod conversations;
pub mod database;
pub mod development;
pub mod diagnosis;
pub mod error;
pub mod invitations;
pub mod limits;
pub mod markers;
pub mod messages;
pub mod migrations;
pub mod organizations;
pub mod replica;
pub mod retention;
pub mod sessions;
pub mod usage;

use database::Compartment;
pub use database::Database;
pub use error::StoreError;
use replica::Replica;

/// Runs one query on a connection of the pool, within the statement timeout.
macro_rules! timed_query {
    ($db:expr, $query:expr, $method:ident) => {{
        let mut connection = $db.checkout().await?;
        let outcome = $db.limit($query.$method(connection.get())).await;
        connection.settle(outcome)
    }};
}
pub(crate) use timed_query;

/// The tables, each behind its own handle. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub accounts: accounts::Accounts,
    pub api_keys: api_keys::ApiKeys,
    pub audit: audit::Audit,
    pub conversations: conversations::Conversations,
    pub invitations: invitations::Invitations,
    pub messages: messages::Messages,
    pub organizations: organizations::Organizations,
    pub retention: retention::Retention,
    pub sessions: sessions::Sessions,
    pub usage: usage::Usage,
    /// For counting people: the accounts, and the copy of them that is asked first.
    pub analytics: accounts::Counting,
}

/// Copies of the database that take work off it, where they are configured.
#[derive(Clone, Default)]
pub struct Replicas {
    pub analytics: Option<Replica>,
    pub reporting: Option<Replica>,
}

impl Store {
    pub fn new(database: &Database, replicas: &Replicas) -> Self {
        Self {
            accounts: accounts::Accounts(database.compartment(Compartment::Accounts)),
            api_keys: api_keys::ApiKeys(database.compartment(Compartment::ApiKeys)),
            audit: audit::Audit {
                reports: database.compartment(Compartment::Reports),
                behind: database.compartment(Compartment::Background),
            },
            conversations: conversations::Conversations(database.compartment(Compartment::Conversations)),
            invitations: invitations::Invitations(database.compartment(Compartment::Invitations)),
            messages: messages::Messages(database.compartment(Compartment::Messages)),
            organizations: organizations::Organizations(database.compartment(Compartment::Accounts)),
            retention: retention::Retention(database.compartment(Compartment::Background)),
            sessions: sessions::Sessions(database.compartment(Compartment::Sessions)),
            usage: usage::Usage {
                primary: database.compartment(Compartment::Background),
                reports: database.compartment(Compartment::Reports),
                reporting: replicas.reporting.clone(),
            },
            analytics: accounts::Counting {
                primary: database.compartment(Compartment::Accounts),
                replica: replicas.analytics.clone(),
            },
        }
    }
}
