//! Usage records as `COPY` takes them: PostgreSQL's binary format.
//!
//! An insert of arrays has the server take each array apart, write its elements into a table of their own, and join those row by
//! row; `COPY` puts rows where they belong as they come (decision 0019). It says nothing but yes or no to all of them, so what to
//! do about records that are there already is the other way's.
//!
//! Not checked against the schema at compile time, as nothing of `COPY` can be: every test that writes a record goes this way.

use sqlx::PgConnection;

use super::signed;
use domain::usage::UsageRecord;

/// In the order in which [`encode`] has them.
const STATEMENT: &str = "COPY usage_records (id, organization_id, user_id, api_key_id, model, provider, kind, outcome, streamed, \
     input_tokens, output_tokens, estimated, cost_nanodollars, latency_us, first_token_us, created_at, cached, saved_nanodollars, \
     cached_input_tokens) \
     FROM STDIN (FORMAT binary)";
const COLUMNS: i16 = 19;

/// PostgreSQL's manual, `COPY`, "Binary Format": a signature, no flags, and no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: i16 = -1;
/// In place of the length of a field that has no value.
const NULL: i32 = -1;
/// PostgreSQL counts from 2000-01-01, in microseconds.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// Bytes that are sent at a time: a connection keeps a buffer as large as the largest that it ever sent. A thousand records go at once.
const PIECE: usize = 256 * 1024;
/// A guess at what a record takes, in bytes.
const USUAL: usize = 256;

/// All or none of the records, as [`encode`] gave them.
pub(super) async fn copy(connection: &mut PgConnection, encoded: &[u8]) -> Result<u64, sqlx::Error> {
    let mut copying = connection.copy_in_raw(STATEMENT).await?;
    for piece in encoded.chunks(PIECE) {
        copying.send(piece).await?;
    }
    copying.finish().await
}

/// In the order of their ids, so that two batches with records in common do not wait for each other in a ring.
pub(super) fn encode(records: &[UsageRecord]) -> Vec<u8> {
    let mut in_order: Vec<_> = records.iter().collect();
    in_order.sort_unstable_by_key(|record| record.id.0);
    let mut rows = Rows(Vec::with_capacity(HEADER.len() + records.len() * USUAL));
    rows.0.extend_from_slice(HEADER);
    for record in in_order {
        rows.0.extend_from_slice(&COLUMNS.to_be_bytes());
        rows.field(record.id.0.as_bytes());
        rows.field(record.organization.0.as_bytes());
        rows.field(record.user.0.as_bytes());
        match &record.api_key {
            Some(key) => rows.field(key.0.as_bytes()),
            None => rows.null(),
        }
        rows.field(record.model.as_bytes());
        rows.field(record.provider.as_bytes());
        rows.field(record.kind.as_str().as_bytes());
        rows.field(record.outcome.as_str().as_bytes());
        rows.flag(record.streamed);
        rows.count(record.tokens.input);
        rows.count(record.tokens.output);
        rows.flag(record.tokens.estimated);
        rows.count(record.cost.nanodollars());
        rows.count(record.latency_us);
        match record.first_token_us {
            Some(micros) => rows.count(micros),
            None => rows.null(),
        }
        let created = record.created_at.timestamp_micros().saturating_sub(EPOCH_MICROS);
        rows.field(&created.to_be_bytes());
        rows.flag(record.cached);
        rows.count(record.saved.nanodollars());
        rows.count(record.tokens.cached_input);
    }
    rows.0.extend_from_slice(&TRAILER.to_be_bytes());
    rows.0
}

struct Rows(Vec<u8>);

impl Rows {
    fn field(&mut self, value: &[u8]) {
        // PostgreSQL itself takes no more than 1 GiB; a length that does not fit is refused there.
        let length = i32::try_from(value.len()).unwrap_or(i32::MAX);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(value);
    }

    fn null(&mut self) {
        self.0.extend_from_slice(&NULL.to_be_bytes());
    }

    fn flag(&mut self, value: bool) {
        self.field(&[u8::from(value)]);
    }

    fn count(&mut self, value: u64) {
        self.field(&signed(value).to_be_bytes());
    }
}
