//! Usage records: written in batches, read as sums.

use chrono::NaiveDate;

use super::{Database, StoreError, replica::Replica, timed_query};
use domain::{
    ids::{ApiKeyId, OrganizationId, UserId},
    money::Cost,
    usage::{KeySum, UsageRecord, UsageSums, UsageTotals},
};

#[derive(Clone)]
pub struct Usage {
    pub(super) primary: Database,
    /// The same, for reports, which take longer and have few connections.
    pub(super) reports: Database,
    /// Where reports are read from.
    pub(super) reporting: Option<Replica>,
}

/// PostgreSQL's integers are signed; a count beyond that is a bug elsewhere, and is kept as the largest.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Usage {
    /// Inserts records with one statement, which also adds them to the day's sums (the database does). A record that is already there is
    /// left alone, so a batch may be tried again, and the journal of a process that died may be read to its end.
    ///
    /// The rows are sorted: two batches with records in common do not deadlock.
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
        let cached_inputs = column!(record => signed(record.tokens.cached_input));
        let latencies = column!(record => signed(record.latency_us));
        let first_tokens = column!(record => record.first_token_us.map(signed));
        let times = column!(record => record.created_at);
        let inserted = timed_query!(
            self.primary,
            sqlx::query!(
                "INSERT INTO usage_records
                     (id, organization_id, user_id, api_key_id, model, provider, kind, outcome, streamed, input_tokens,
                      output_tokens, estimated, cost_nanodollars, latency_us, first_token_us, created_at, cached,
                      saved_nanodollars, cached_input_tokens)
                 SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[],
                      $7::text[], $8::text[], $9::bool[], $10::bigint[], $11::bigint[], $12::bool[], $13::bigint[],
                      $14::bigint[], $15::bigint[], $16::timestamptz[], $17::bool[], $18::bigint[],
                      $19::bigint[])
                 ORDER BY 1
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
                &saved,
                &cached_inputs
            ),
            execute
        );
        inserted.map(|_| ())
    }

    /// Sums over `from..=to` (days, UTC): by day, by model and by key. `None` if that would be more than `limit` rows. Asks
    /// the replica for reports where there is one that is fit, else the primary.
    pub async fn sums(
        &self,
        organization: OrganizationId,
        from: NaiveDate,
        to: NaiveDate,
        limit: i64,
    ) -> Result<Option<UsageSums>, StoreError> {
        let ask = |database: Database| async move { sums_of(&database, organization, from, to, limit).await };
        Replica::or_primary(self.reporting.as_ref(), &self.reports, ask).await
    }
}

/// What a row sums up, as `GROUPING` tells: a bit for each column that is not grouped by.
const BY_DAY: i32 = 0b011;
const BY_MODEL: i32 = 0b101;

async fn sums_of(
    database: &Database,
    organization: OrganizationId,
    from: NaiveDate,
    to: NaiveDate,
    limit: i64,
) -> Result<Option<UsageSums>, StoreError> {
    let rows = timed_query!(
        database,
        sqlx::query!(
            r#"SELECT sums.grouped AS "grouped!", sums.day AS "day?", sums.model AS "model?",
                   sums.api_key_id AS "api_key_id?", k.name AS "key_name?", k.user_id AS "owner?",
                   sums.requests AS "requests!", sums.input_tokens AS "input_tokens!",
                   sums.output_tokens AS "output_tokens!", sums.cost AS "cost!", sums.estimated AS "estimated!",
                   sums.cached AS "cached!", sums.saved AS "saved!", sums.cached_input_tokens AS "cached_input_tokens!"
             FROM (
                 SELECT GROUPING(day, model, api_key_id) AS grouped, day, model, api_key_id,
                     sum(requests)::bigint AS requests, LEAST(sum(input_tokens), $5::bigint)::bigint AS input_tokens,
                     LEAST(sum(output_tokens), $5::bigint)::bigint AS output_tokens,
                     LEAST(sum(cost_nanodollars), $5::bigint)::bigint AS cost, sum(estimated_requests)::bigint AS estimated,
                     sum(cached_requests)::bigint AS cached, LEAST(sum(saved_nanodollars), $5::bigint)::bigint AS saved,
                     LEAST(sum(cached_input_tokens), $5::bigint)::bigint AS cached_input_tokens
                 FROM usage_daily WHERE organization_id = $1 AND day BETWEEN $2 AND $3
                 GROUP BY GROUPING SETS ((day), (model), (api_key_id)) LIMIT $4
             ) sums
             LEFT JOIN api_keys k ON k.organization_id = $1 AND k.id = sums.api_key_id"#,
            organization.0,
            from,
            to,
            limit + 1,
            i64::MAX
        ),
        fetch_all
    )?;
    if i64::try_from(rows.len()).is_ok_and(|count| count > limit) {
        return Ok(None);
    }
    let mut sums = UsageSums::default();
    for row in rows {
        let totals = UsageTotals {
            requests: row.requests.unsigned_abs(),
            input_tokens: row.input_tokens.unsigned_abs(),
            output_tokens: row.output_tokens.unsigned_abs(),
            cached_input_tokens: row.cached_input_tokens.unsigned_abs(),
            cost: Cost::from_nanodollars(row.cost.unsigned_abs()),
            estimated_requests: row.estimated.unsigned_abs(),
            cached_requests: row.cached.unsigned_abs(),
            saved: Cost::from_nanodollars(row.saved.unsigned_abs()),
        };
        match (row.grouped, row.day, row.model) {
            (BY_DAY, Some(day), _) => sums.days.push((day, totals)),
            (BY_MODEL, _, Some(model)) => sums.models.push((model, totals)),
            _ => {
                let key = row.api_key_id.filter(|key| !key.is_nil()).map(ApiKeyId);
                let (name, owner) = (row.key_name, row.owner.map(UserId));
                sums.keys.push(KeySum {
                    key,
                    name,
                    owner,
                    totals,
                });
            }
        }
    }
    Ok(Some(sums))
}
