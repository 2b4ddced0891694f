//! What endangers a server that works: changes that it keeps for a copy that has gone, and pages whose damage nobody notices.

use sqlx::Connection as _;

use super::{Database, LIMIT, StoreError, Unavailable};

/// A place in the log of changes from which on a server keeps everything, for one copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub name: String,
    /// Whether the copy is connected.
    pub active: bool,
    /// Kept for it, in bytes.
    pub kept: i64,
}

#[derive(Debug, Clone)]
pub struct Safety {
    pub slots: Vec<Slot>,
    /// At most so many bytes are kept for a slot; `None` is as many as the disk has.
    pub max_kept: Option<i64>,
    /// Whether a page that the disk gives back damaged is noticed when it is read.
    pub has_checksums: bool,
}

impl Database {
    /// Asks over a connection of its own.
    pub async fn safety(&self) -> Result<Safety, StoreError> {
        let look = async {
            let mut connection = self.connect().await?;
            let slots = sqlx::query_as!(
                Slot,
                r#"SELECT slot_name::text AS "name!", active AS "active!",
                          COALESCE(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                                                        ELSE pg_current_wal_lsn() END, restart_lsn), 0)::bigint AS "kept!"
                   FROM pg_replication_slots ORDER BY 3 DESC LIMIT 100"#
            )
            .fetch_all(&mut connection)
            .await?;
            let settings = sqlx::query!(
                r#"SELECT (SELECT NULLIF(setting::bigint, -1) * 1024 * 1024 FROM pg_settings WHERE name = 'max_slot_wal_keep_size')
                              AS max_kept,
                          current_setting('data_checksums') = 'on' AS "has_checksums!""#
            )
            .fetch_one(&mut connection)
            .await?;
            connection.close().await?;
            Ok(Safety {
                slots,
                max_kept: settings.max_kept,
                has_checksums: settings.has_checksums,
            })
        };
        match tokio::time::timeout(LIMIT, look).await {
            Ok(outcome) => outcome,
            Err(_) => Err(StoreError::Unavailable(Unavailable::NoAnswer(LIMIT))),
        }
    }
}
