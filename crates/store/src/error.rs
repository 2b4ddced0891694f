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
    /// The statement took longer than it may, met a deadlock, or the server had not enough memory for it. The server is
    /// well, and the statement has changed nothing.
    #[error("the database gave the statement up")]
    GivenUp(#[source] sqlx::Error),
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

    /// The server is there, but does not let us in.
    pub(super) fn is_login_refused(&self) -> bool {
        matches!(self, Self::Unavailable(Unavailable::Connection(error)) if is_login_refused(error))
    }

    /// The rows are to blame, and will be each time they are tried: a value that the column does not take (SQLSTATE classes 22 and
    /// 23), or one that cannot even be sent.
    pub fn is_about_rows(&self) -> bool {
        match self {
            Self::Conflict { .. } | Self::Query(sqlx::Error::Encode(_)) => true,
            Self::Query(error) => {
                let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
                code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
            }
            _ => false,
        }
    }

    /// The constraint that was violated, if one was.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Conflict { constraint, .. } => Some(constraint),
            _ => None,
        }
    }
}

/// What a SQLSTATE says of the server, where it does not speak of the query alone.
enum Trouble {
    /// It is going away, or cannot be spoken to.
    Outage,
    NoWrites,
    GivenUp,
}

impl Trouble {
    fn of(code: &str) -> Option<Self> {
        match code {
            // A primary that was demoted, or whose operator says so; and one whose disk is full, which still reads.
            "25006" | "53100" => Some(Self::NoWrites),
            // query_canceled (by `statement_timeout` or an operator), serialization_failure, deadlock_detected,
            // lock_not_available, out_of_memory, configuration_limit_exceeded.
            "57014" | "40001" | "40P01" | "55P03" | "53200" | "53400" => Some(Self::GivenUp),
            // Connection exception, insufficient resources, operator intervention.
            _ if ["08", "53", "57P"].iter().any(|class| code.starts_with(class)) => Some(Self::Outage),
            _ => None,
        }
    }
}

/// The server takes no more connections; those it has go on.
const TOO_MANY_CONNECTIONS: &str = "53300";

/// Invalid authorization specification: a wrong password, a role that may not log in.
pub(super) fn is_login_refused(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code.starts_with("28"))
}

/// Takes no connections for the moment (57P03), while those there are may go on.
pub(super) fn is_starting_or_stopping(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code == "57P03")
}

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
                match database.code().and_then(|code| Trouble::of(&code)) {
                    Some(Trouble::Outage) => return Self::Unavailable(Unavailable::Connection(error)),
                    Some(Trouble::NoWrites) => return Self::Unavailable(Unavailable::ReadOnly(error)),
                    Some(Trouble::GivenUp) => return Self::Unavailable(Unavailable::GivenUp(error)),
                    None => {}
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
