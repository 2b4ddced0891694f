//! Paging by key: a page starts after an id, so rows that come and go do not shift it.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// How much of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    pub limit: u16,
    /// Rows after this one, in the list's order.
    pub after: Option<Cursor>,
}

/// The place of one row in a list ordered by time, then id. Opaque to callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Microseconds since the epoch, PostgreSQL's own resolution.
    pub micros: i64,
    pub id: Uuid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a next_cursor of an earlier page")]
pub struct InvalidCursor;

/// The last moment that PostgreSQL and RFC 3339 both have a name for.
const LAST_MICROS: i64 = 253_402_300_799_000_000;

impl Cursor {
    /// After everything, for the first page of what comes newest first.
    pub const END: Self = Self {
        micros: LAST_MICROS,
        id: Uuid::max(),
    };

    /// Before everything, for the first page of what comes oldest first.
    pub const START: Self = Self {
        micros: 0,
        id: Uuid::nil(),
    };

    pub fn time(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.micros).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    pub fn encode(self) -> String {
        format!("{:016x}{}", self.micros, self.id.simple())
    }

    pub fn decode(text: &str) -> Result<Self, InvalidCursor> {
        if text.len() != 48 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidCursor);
        }
        let micros = i64::from_str_radix(&text[..16], 16).map_err(|_| InvalidCursor)?;
        // Beyond this PostgreSQL has no timestamp, and the query would fail instead of finding nothing.
        if !(0..=LAST_MICROS).contains(&micros) {
            return Err(InvalidCursor);
        }
        let id = Uuid::try_parse(&text[16..]).map_err(|_| InvalidCursor)?;
        Ok(Self { micros, id })
    }
}

/// Some rows, and where the next page starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub rows: Vec<T>,
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// Cuts the one row too many that the query asked for, and remembers where it was.
    pub fn cut(mut rows: Vec<T>, limit: u16, cursor: impl Fn(&T) -> Cursor) -> Self {
        let more = rows.len() > usize::from(limit);
        rows.truncate(usize::from(limit));
        let next = if more { rows.last().map(cursor) } else { None };
        Self { rows, next }
    }
}

#[cfg(test)]
mod tests {
    use super::Cursor;
    use proptest::prelude::*;
    use uuid::Uuid;

    proptest! {
        #[test]
        fn written_and_read_again(micros in 0..253_402_300_799_000_000_i64, id in any::<u128>()) {
            let cursor = Cursor { micros, id: Uuid::from_u128(id) };
            prop_assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
        }

        #[test]
        fn never_panics(text in ".{0,60}") {
            let _ = Cursor::decode(&text);
        }
    }
}
