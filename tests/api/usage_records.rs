//! Usage records as the database has them.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    ids::{ApiKeyId, OrganizationId, UsageRecordId, UserId},
    model::ModelKind,
    money::Cost,
    tokens::TokenUsage,
    usage::{CallOutcome, UsageRecord},
};
use store::{Database, Replicas, Store, usage::Usage};
use uuid::Uuid;

use crate::support::database::{self, TestDatabase};

/// With a single connection, so that each statement finds it as the one before has left it.
fn usage(database: &TestDatabase) -> Usage {
    let mut config = database::config(&database.url);
    (config.max_connections, config.min_connections) = (1, 1);
    let handle = Database::new(&config).unwrap();
    Store::new(&handle, &Replicas::default()).usage
}

/// Each optional field with and without a value, each flag both ways, counts from none to more than the database can hold.
fn record(organization: u64, number: u64) -> UsageRecord {
    let count = [0, 1, 255, 1 << 40, u64::MAX][usize::try_from(number % 5).unwrap()];
    UsageRecord {
        id: UsageRecordId(Uuid::from_u64_pair(organization, number)),
        organization: OrganizationId(Uuid::from_u64_pair(0, organization)),
        user: UserId(Uuid::from_u64_pair(u64::MAX, number)),
        api_key: number
            .is_multiple_of(2)
            .then(|| ApiKeyId(Uuid::from_u64_pair(3, number))),
        model: Arc::from(["", "modèle-é", "一"][usize::try_from(number % 3).unwrap()]),
        provider: Arc::from("fake\n\\N\t"),
        kind: [ModelKind::Chat, ModelKind::Embedding][usize::from(number.is_multiple_of(4))],
        outcome: [CallOutcome::Completed, CallOutcome::Cancelled][usize::from(number.is_multiple_of(5))],
        streamed: number.is_multiple_of(3),
        tokens: TokenUsage {
            input: count,
            output: 2,
            cached_input: if number.is_multiple_of(2) { count } else { 0 },
            estimated: number.is_multiple_of(7),
        },
        cost: Cost::from_nanodollars(number * 3),
        cached: number.is_multiple_of(4),
        saved: Cost::from_nanodollars(number),
        latency_us: number,
        first_token_us: number.is_multiple_of(3).then_some(number),
        // Before PostgreSQL's own epoch too.
        created_at: DateTime::<Utc>::UNIX_EPOCH
            + TimeDelta::days(20) * i32::try_from(number).unwrap()
            + TimeDelta::microseconds(123_456),
    }
}

/// All that the database has of an organisation's records, but for what tells them apart from another's.
async fn stored(database: &TestDatabase, organization: u64) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT (to_jsonb(r) - 'id' - 'organization_id')::text FROM usage_records r WHERE organization_id = $1 ORDER BY id",
    )
    .bind(Uuid::from_u64_pair(0, organization))
    .fetch_all(&mut database.connection().await)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_record_is_written_with_every_field() {
    let database = TestDatabase::create().await;
    let usage = usage(&database);
    let all = |organization| (0..840).map(|number| record(organization, number)).collect::<Vec<_>>();
    usage.insert(&all(1)).await.unwrap();
    let written = stored(&database, 1).await;
    assert_eq!(written.len(), 840);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&written[4]).unwrap(),
        serde_json::json!({
            "user_id": Uuid::from_u64_pair(u64::MAX, 4), "api_key_id": Uuid::from_u64_pair(3, 4), "model": "modèle-é",
            "provider": "fake\n\\N\t", "kind": "embedding", "outcome": "completed", "streamed": false,
            "input_tokens": i64::MAX, "cached_input_tokens": i64::MAX, "output_tokens": 2, "estimated": false, "cost_nanodollars": 12, "latency_us": 4,
            "first_token_us": null, "created_at": "1970-03-22T00:00:00.123456+00:00", "cached": true,
            "saved_nanodollars": 4, "rolled_up": true,
        })
    );
}

#[tokio::test]
async fn what_is_there_already_stays_and_the_rest_is_added() {
    let database = TestDatabase::create().await;
    let usage = usage(&database);
    let mut records: Vec<_> = (0..10).map(|number| record(1, number)).collect();
    usage.insert(&records).await.unwrap();
    let before = stored(&database, 1).await;
    for record in &mut records {
        record.latency_us += 1;
    }
    records.push(record(1, 10));
    usage.insert(&records).await.unwrap();
    let after = stored(&database, 1).await;
    assert_eq!(after.len(), 11);
    assert_eq!(after[..10], before);
    // The connection that was refused a batch is as good as before.
    usage.insert(&[record(1, 11)]).await.unwrap();
    usage.insert(&[]).await.unwrap();
    assert_eq!(stored(&database, 1).await.len(), 12);
}
