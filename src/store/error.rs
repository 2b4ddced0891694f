//! What a caller of the store must tell apart.

/// Sources are kept for the log; callers decide on the variant.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, does not answer in time, or takes no writes. Nothing is known to be written.
    #[error("the database is unavailable")]
    Unavailable(#[source] Unavailable),
    /// A named constraint refused the row.
    #[error("the row conflicts with constraint {constraint}")]
    Conflict {
        constraint: String,
        #[source]
        source: sqlx::Error,
    },
    /// A stored value that this version cannot read.
    #[error("a stored value is not understood")]
    Corrupt(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the query failed")]
    Query(#[source] sqlx::Error),
}

#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    #[error("known to be down; a probe is watching for its return")]
    KnownDown,
    #[error("all connections are busy")]
    Busy,
    #[error("the database takes no writes")]
    ReadOnly(#[source] sqlx::Error),
    #[error("no answer within {0:?}")]
    NoAnswer(std::time::Duration),
    #[error(transparent)]
    Connection(sqlx::Error),
}

impl StoreError {
    pub fn corrupt(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Corrupt(Box::new(source))
    }

    /// The server is there, but takes no more connections.
    pub(super) fn is_out_of_connections(&self) -> bool {
        let Self::Unavailable(Unavailable::Connection(sqlx::Error::Database(error))) = self else {
            return false;
        };
        error.code().is_some_and(|code| code == TOO_MANY_CONNECTIONS)
    }

    /// The constraint that was violated, if one was.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Conflict { constraint, .. } => Some(constraint),
            _ => None,
        }
    }
}

/// SQLSTATE classes that speak of the server's state rather than of the query: 08 connection exception, 53 insufficient
/// resources, 57P operator intervention.
fn is_outage(code: &str) -> bool {
    code.starts_with("08") || code.starts_with("53") || code.starts_with("57P")
}

/// A primary that was demoted, or whose operator says so.
const READ_ONLY: &str = "25006";
/// The server takes no more connections; those it has go on.
const TOO_MANY_CONNECTIONS: &str = "53300";

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_) => Self::Unavailable(Unavailable::Connection(error)),
            sqlx::Error::Database(database) => {
                if database.code().is_some_and(|code| code == READ_ONLY) {
                    return Self::Unavailable(Unavailable::ReadOnly(error));
                }
                if database.code().is_some_and(|code| is_outage(&code)) {
                    return Self::Unavailable(Unavailable::Connection(error));
                }
                match database.constraint().map(str::to_owned) {
                    Some(constraint) => Self::Conflict {
                        constraint,
                        source: error,
                    },
                    None => Self::Query(error),
                }
            }
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Self::corrupt(error),
            _ => Self::Query(error),
        }
    }
}
