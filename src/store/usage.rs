//! Usage records: written in batches, read as sums.

use chrono::{DateTime, NaiveDate, Utc};

use super::{Database, StoreError, run};
use crate::domain::{
    ids::{ApiKeyId, OrganizationId},
    money::Cost,
    usage::{UsageCell, UsageRecord, UsageTotals},
};

#[derive(Clone)]
pub struct Usage(pub(super) Database);

/// PostgreSQL's integers are signed; a count beyond that is a bug elsewhere, and is kept as the largest.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Usage {
    /// Inserts records in one statement. A record that is already there is left alone, so a batch may be tried again.
    pub async fn insert(&self, records: &[UsageRecord]) -> Result<(), StoreError> {
        macro_rules! column {
            ($record:ident => $value:expr) => {
                records.iter().map(|$record| $value).collect::<Vec<_>>()
            };
        }
        let ids = column!(record => record.id.0);
        let organizations = column!(record => record.organization.0);
        let users = column!(record => record.user.0);
        let keys = column!(record => record.api_key.map(|key| key.0));
        let models = column!(record => &*record.model);
        let providers = column!(record => &*record.provider);
        let kinds = column!(record => record.kind.as_str());
        let outcomes = column!(record => record.outcome.as_str());
        let streamed = column!(record => record.streamed);
        let inputs = column!(record => signed(record.tokens.input));
        let outputs = column!(record => signed(record.tokens.output));
        let estimated = column!(record => record.tokens.estimated);
        let costs = column!(record => signed(record.cost.nanodollars()));
        let cached = column!(record => record.cached);
        let saved = column!(record => signed(record.saved.nanodollars()));
        let latencies = column!(record => signed(record.latency_us));
        let first_tokens = column!(record => record.first_token_us.map(signed));
        let times = column!(record => record.created_at);
        run!(
            self.0,
            sqlx::query!(
                "INSERT INTO usage_records
                     (id, organization_id, user_id, api_key_id, model, provider, kind, outcome, streamed, input_tokens,
                      output_tokens, estimated, cost_nanodollars, latency_us, first_token_us, created_at, cached,
                      saved_nanodollars)
                 SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[],
                      $8::text[], $9::bool[], $10::bigint[], $11::bigint[], $12::bool[], $13::bigint[], $14::bigint[],
                      $15::bigint[], $16::timestamptz[], $17::bool[], $18::bigint[])
                 ON CONFLICT (id) DO NOTHING",
                &ids,
                &organizations,
                &users,
                &keys as &[Option<uuid::Uuid>],
                &models as &[&str],
                &providers as &[&str],
                &kinds as &[&str],
                &outcomes as &[&str],
                &streamed,
                &inputs,
                &outputs,
                &estimated,
                &costs,
                &latencies,
                &first_tokens as &[Option<i64>],
                &times,
                &cached,
                &saved
            ),
            execute
        )?;
        Ok(())
    }

    /// Sums by day (UTC), model and key over `from..to` (days, `to` included), at most `limit` rows.
    pub async fn cells(
        &self,
        organization: OrganizationId,
        from: NaiveDate,
        to: NaiveDate,
        limit: i64,
    ) -> Result<Vec<UsageCell>, StoreError> {
        let start: DateTime<Utc> = from.and_time(chrono::NaiveTime::MIN).and_utc();
        let end: DateTime<Utc> = to.and_time(chrono::NaiveTime::MIN).and_utc() + chrono::TimeDelta::days(1);
        let rows = run!(
            self.0,
            sqlx::query!(
                r#"SELECT (r.created_at AT TIME ZONE 'UTC')::date AS "day!", r.model, r.api_key_id,
                       (SELECT k.name FROM api_keys k WHERE k.organization_id = $1 AND k.id = r.api_key_id) AS key_name,
                       count(*) AS "requests!", sum(r.input_tokens)::bigint AS "input_tokens!",
                       sum(r.output_tokens)::bigint AS "output_tokens!", sum(r.cost_nanodollars)::bigint AS "cost!",
                       count(*) FILTER (WHERE r.estimated) AS "estimated!", count(*) FILTER (WHERE r.cached) AS "cached!",
                       sum(r.saved_nanodollars)::bigint AS "saved!"
                 FROM usage_records r
                 WHERE r.organization_id = $1 AND r.created_at >= $2 AND r.created_at < $3
                 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT $4"#,
                organization.0,
                start,
                end,
                limit
            ),
            fetch_all
        )?;
        Ok(rows
            .into_iter()
            .map(|row| UsageCell {
                day: row.day,
                model: row.model,
                key: row.api_key_id.map(|id| (ApiKeyId(id), row.key_name)),
                totals: UsageTotals {
                    requests: row.requests.unsigned_abs(),
                    input_tokens: row.input_tokens.unsigned_abs(),
                    output_tokens: row.output_tokens.unsigned_abs(),
                    cost: Cost::from_nanodollars(row.cost.unsigned_abs()),
                    estimated_requests: row.estimated.unsigned_abs(),
                    cached_requests: row.cached.unsigned_abs(),
                    saved: Cost::from_nanodollars(row.saved.unsigned_abs()),
                },
            })
            .collect())
    }
}
