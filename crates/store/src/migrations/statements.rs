//! The statements of a migration: where each ends, which locks it takes, and what its time depends on.
//!
//! `sqlparser` reads them. What it cannot read counts as the worst that a statement may do; a test holds that the project's own
//! migrations are read.

mod kinds;

use serde::Serialize;
use sqlparser::{
    dialect::PostgreSqlDialect,
    tokenizer::{Location, Token, Tokenizer},
};

/// The strongest lock that a statement takes on a table that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Lock {
    /// On no table that others use.
    #[serde(rename = "none")]
    None,
    #[serde(rename = "ACCESS SHARE")]
    AccessShare,
    #[serde(rename = "ROW EXCLUSIVE")]
    RowExclusive,
    #[serde(rename = "SHARE UPDATE EXCLUSIVE")]
    ShareUpdateExclusive,
    #[serde(rename = "SHARE")]
    Share,
    #[serde(rename = "SHARE ROW EXCLUSIVE")]
    ShareRowExclusive,
    #[serde(rename = "ACCESS EXCLUSIVE")]
    AccessExclusive,
}

impl Lock {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::AccessShare => "ACCESS SHARE",
            Self::RowExclusive => "ROW EXCLUSIVE",
            Self::ShareUpdateExclusive => "SHARE UPDATE EXCLUSIVE",
            Self::Share => "SHARE",
            Self::ShareRowExclusive => "SHARE ROW EXCLUSIVE",
            Self::AccessExclusive => "ACCESS EXCLUSIVE",
        }
    }

    /// Whom it keeps out while it is held.
    pub fn blocks(self) -> &'static str {
        match self {
            Self::None => "nobody",
            Self::AccessShare | Self::RowExclusive | Self::ShareUpdateExclusive => "no reader or writer",
            Self::Share | Self::ShareRowExclusive => "writers",
            Self::AccessExclusive => "readers and writers",
        }
    }
}

/// What the time of a statement depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// The catalogue alone: milliseconds.
    Metadata,
    /// The table is read once.
    Scan,
    /// An index is built.
    Index,
    /// Rows are written.
    Rows,
    /// The table is written anew.
    Rewrite,
}

/// One statement and what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub text: String,
    /// Such as `ALTER TABLE`.
    pub kind: String,
    pub lock: Lock,
    pub work: Work,
    /// Tables that the lock is on, as written.
    pub tables: Vec<String>,
    /// An index that is dropped: which table it is on, the database knows.
    pub index: Option<String>,
    /// The tables that it makes.
    pub makes: Vec<String>,
    /// Waits for older transactions and keeps nobody out meanwhile.
    pub is_concurrent: bool,
    /// `SET lock_timeout` or `statement_timeout`: how long a migration waits is the runner's to say.
    pub sets_limit: bool,
}

/// The statements of a file in order, each as [`Statement`].
pub fn read(sql: &str) -> Vec<Statement> {
    let mut made: Vec<String> = Vec::new();
    let mut statements = Vec::new();
    for text in split(sql) {
        let mut statement = kinds::read(&text);
        // What this migration has made, nobody else uses yet.
        if !statement.tables.is_empty() {
            statement.tables.retain(|table| !made.contains(table));
            if statement.tables.is_empty() {
                (statement.lock, statement.work) = (Lock::None, Work::Metadata);
            }
        }
        made.extend(statement.makes.iter().cloned());
        statements.push(statement);
    }
    statements
}

/// The statements of a file, without what stands between them. A file that cannot be read is one statement.
pub fn split(sql: &str) -> Vec<String> {
    let dialect = PostgreSqlDialect {};
    let Ok(tokens) = Tokenizer::new(&dialect, sql).tokenize_with_location() else {
        return vec![sql.to_owned()];
    };
    let lines: Vec<usize> = std::iter::once(0)
        .chain(sql.match_indices('\n').map(|(at, _)| at + 1))
        .collect();
    let offset = |place: Location| {
        let line = usize::try_from(place.line).unwrap_or(1).saturating_sub(1);
        let start = lines.get(line).copied().unwrap_or(sql.len());
        let characters = usize::try_from(place.column).unwrap_or(1).saturating_sub(1);
        let rest = sql.get(start..).unwrap_or_default();
        start + rest.char_indices().nth(characters).map_or(rest.len(), |(at, _)| at)
    };
    let mut statements = Vec::new();
    let mut start: Option<Location> = None;
    for token in tokens {
        match token.token {
            // Comments before a statement are not its own.
            Token::Whitespace(_) | Token::EOF => {}
            Token::SemiColon => {
                if let Some(start) = start.take() {
                    statements.push(sql[offset(start)..offset(token.span.start)].to_owned());
                }
            }
            _ => {
                start.get_or_insert(token.span.start);
            }
        }
    }
    if let Some(start) = start {
        statements.push(sql[offset(start)..].trim_end().to_owned());
    }
    statements
}

#[cfg(test)]
mod tests;
