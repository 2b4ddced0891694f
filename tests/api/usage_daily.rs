//! The sums that reports are made from: kept by the database, exactly those of the records, whoever writes them.

use std::{path::Path, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    ids::{ApiKeyId, OrganizationId, UsageRecordId, UserId},
    model::ModelKind,
    money::Cost,
    tokens::TokenUsage,
    usage::{CallOutcome, UsageRecord},
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use store::{Database, Replicas, Store};

use crate::support::{
    TestApp,
    accounts::{Browser, Person, register},
    database::{self, TestDatabase},
    postgres::Postgres,
    soon,
};

/// What the records and the sums say of each day, model and key, where they differ: nothing, that is.
async fn differences(database: &mut PgConnection) -> Vec<String> {
    let of_records = "SELECT organization_id, (created_at AT TIME ZONE 'UTC')::date AS day, model,
             COALESCE(api_key_id, '00000000-0000-0000-0000-000000000000') AS key, count(*) AS requests,
             sum(input_tokens) AS input, sum(output_tokens) AS output, sum(cost_nanodollars) AS cost,
             count(*) FILTER (WHERE estimated) AS estimated, count(*) FILTER (WHERE cached) AS cached,
             sum(saved_nanodollars) AS saved
         FROM usage_records GROUP BY 1, 2, 3, 4";
    let kept =
        "SELECT organization_id, day, model, api_key_id, requests, input_tokens, output_tokens, cost_nanodollars,
             estimated_requests, cached_requests, saved_nanodollars FROM usage_daily";
    let query = format!("SELECT d::text FROM (({of_records} EXCEPT {kept}) UNION ALL ({kept} EXCEPT {of_records})) d");
    sqlx::query_scalar(AssertSqlSafe(query))
        .fetch_all(database)
        .await
        .unwrap()
}

async fn count(database: &mut PgConnection, table: &str) -> i64 {
    let query = format!("SELECT count(*) FROM {table}");
    sqlx::query_scalar(AssertSqlSafe(query))
        .fetch_one(database)
        .await
        .unwrap()
}

fn record(number: u64, day: i64) -> UsageRecord {
    let at = |day| DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(20_000 + day);
    let id = |number: u64| uuid::Uuid::from_u64_pair(1, number);
    UsageRecord {
        id: UsageRecordId(id(number)),
        organization: OrganizationId(id(number % 2)),
        user: UserId(id(7)),
        api_key: (!number.is_multiple_of(3)).then(|| ApiKeyId(id(number % 3))),
        model: Arc::from(["one", "two"][usize::from(!number.is_multiple_of(5))]),
        provider: Arc::from("fake"),
        kind: ModelKind::Chat,
        outcome: CallOutcome::Completed,
        streamed: false,
        tokens: TokenUsage {
            input: number,
            // As a provider might report that counts wrong, or lies.
            output: if number.is_multiple_of(50) { u64::MAX } else { 2 },
            cached_input: number / 2,
            estimated: number.is_multiple_of(7),
        },
        cost: Cost::from_nanodollars(number * 3),
        cached: number.is_multiple_of(4),
        saved: Cost::from_nanodollars(number),
        latency_us: 5,
        first_token_us: None,
        created_at: at(day),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_record_counts_once_however_often_and_by_whom_it_is_sent() {
    let database = TestDatabase::create().await;
    let handle = Database::new(&database::config(&database.url)).unwrap();
    let usage = Store::new(&handle, &Replicas::default()).usage;
    // Four writers, whose batches overlap: as after an answer of the database that was lost.
    let writers = (0..4_u64).map(|writer| {
        let usage = usage.clone();
        async move {
            for batch in 0..12_u64 {
                let from = (batch * 20 + writer * 5) % 200;
                let mut records: Vec<_> = (from..from + 40)
                    .map(|number| record(number, (number % 3).cast_signed()))
                    .collect();
                // Batches come in any order, and must not wait for each other in a ring.
                if writer % 2 == 0 {
                    records.reverse();
                }
                usage.insert(&records).await.unwrap();
            }
        }
    });
    futures_util::future::join_all(writers).await;
    let mut look = database.connection().await;
    let records = count(&mut look, "usage_records").await;
    assert!((200..=240).contains(&records), "{records}");
    assert_eq!(differences(&mut look).await, Vec::<String>::new());
    let all: i64 = sqlx::query_scalar("SELECT sum(requests)::bigint FROM usage_daily")
        .fetch_one(&mut look)
        .await
        .unwrap();
    assert_eq!(all, records);
}

/// One migration of the folder, by its number.
async fn migrate(database: &mut PgConnection, number: u32, direction: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let name = |file: &std::fs::DirEntry| file.file_name().to_string_lossy().into_owned();
    let file = std::fs::read_dir(folder)
        .unwrap()
        .map(Result::unwrap)
        .find(|file| {
            name(file).starts_with(&format!("{number:04}_")) && name(file).ends_with(&format!(".{direction}.sql"))
        })
        .unwrap();
    let text = std::fs::read_to_string(file.path()).unwrap();
    if text.starts_with("-- no-transaction") {
        database.execute(AssertSqlSafe(text)).await.unwrap();
    } else {
        let mut transaction = database.begin().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(text))
            .execute(&mut *transaction)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
    }
}

/// As the release before the sums inserts: it knows nothing of them.
async fn insert_as_before(database: &mut PgConnection, day: &str, rows: u32) {
    let query = format!(
        "INSERT INTO usage_records (id, organization_id, user_id, api_key_id, model, provider, kind, outcome, streamed,
             input_tokens, output_tokens, estimated, cost_nanodollars, latency_us, first_token_us, created_at, cached,
             saved_nanodollars)
         SELECT gen_random_uuid(), '00000000-0000-0000-0000-000000000001', gen_random_uuid(), NULL, 'one', 'fake', 'chat',
             'completed', false, n, 2, n % 2 = 0, 3, 4, NULL, '{day}T12:00:00Z', n % 3 = 0, 5
         FROM generate_series(1, {rows}) n
         ON CONFLICT (id) DO NOTHING"
    );
    database.execute(AssertSqlSafe(query)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sums_begin_while_the_release_before_goes_on_writing() {
    let postgres = Postgres::empty().await;
    let mut database = postgres.connection().await;
    for number in 1..=8 {
        migrate(&mut database, number, "up").await;
    }
    insert_as_before(&mut database, "2026-01-01", 30).await;
    insert_as_before(&mut database, "2026-01-02", 20).await;
    migrate(&mut database, 9, "up").await;
    // Between the two, and on a day that the second will add to.
    let mut writer = postgres.connection().await;
    insert_as_before(&mut writer, "2026-01-02", 7).await;

    let text = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/0010_usage_daily_backfill.up.sql"),
    )
    .unwrap();
    let mut adding = database.begin().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut *adding).await.unwrap();
    // It is not committed yet, and nobody waits for it but who adds to the very same sums.
    soon("an insert beside it", insert_as_before(&mut writer, "2026-01-03", 5)).await;
    let waiting = tokio::spawn(async move {
        insert_as_before(&mut writer, "2026-01-02", 11).await;
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    adding.commit().await.unwrap();
    soon("the insert that waited", waiting).await.unwrap();

    assert_eq!(count(&mut database, "usage_records").await, 73);
    assert_eq!(differences(&mut database).await, Vec::<String>::new());
    // Undone and done again it is neither lost nor counted twice.
    migrate(&mut database, 10, "down").await;
    insert_as_before(&mut database, "2026-01-01", 3).await;
    migrate(&mut database, 10, "up").await;
    assert_eq!(differences(&mut database).await, Vec::<String>::new());
    for number in (9..=10).rev() {
        migrate(&mut database, number, "down").await;
    }
    insert_as_before(&mut database, "2026-01-01", 3).await;
    for number in 9..=10 {
        migrate(&mut database, number, "up").await;
    }
    assert_eq!(count(&mut database, "usage_records").await, 79);
    assert_eq!(differences(&mut database).await, Vec::<String>::new());
}

/// Writes `requests` to the sums of one day.
async fn set_sum(database: &mut PgConnection, owner: &Person, requests: i64) {
    sqlx::query(
        "INSERT INTO usage_daily (organization_id, day, model, api_key_id, requests, input_tokens, output_tokens,
             cost_nanodollars, estimated_requests, cached_requests, saved_nanodollars)
         VALUES ($1::uuid, '2025-06-01', 'one', '00000000-0000-0000-0000-000000000000', $2, 0, 0, 0, 0, 0, 0)",
    )
    .bind(&owner.organization)
    .bind(requests)
    .execute(database)
    .await
    .unwrap();
}

#[tokio::test]
async fn a_report_of_very_many_models_keys_and_days_is_whole() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let mut database = app.database().await;
    // 210,000 sums of a record each: 210 days, 20 models, 50 keys.
    sqlx::query(
        "INSERT INTO usage_records (id, organization_id, user_id, api_key_id, model, provider, kind, outcome, streamed,
             input_tokens, output_tokens, estimated, cost_nanodollars, latency_us, created_at)
         SELECT gen_random_uuid(), $1::uuid, $2::uuid, ('00000000-0000-0000-0000-' || lpad(key::text, 12, '0'))::uuid,
             'model-' || model, 'fake', 'chat', 'completed', false, 10, 1, false, 1000, 5,
             timestamptz '2025-01-01T06:00:00Z' + make_interval(days => day)
         FROM generate_series(1, 20) model, generate_series(1, 50) key, generate_series(0, 209) day",
    )
    .bind(&ada.organization)
    .bind(&ada.id)
    .execute(&mut database)
    .await
    .unwrap();
    assert_eq!(count(&mut database, "usage_daily").await, 210_000);
    let report = ada.client.get("/api/usage?from=2025-01-01&to=2025-12-31").await.ok(200);
    assert_eq!(report["totals"]["requests"], 210_000);
    assert_eq!(report["totals"]["input_tokens"], 2_100_000);
    assert_eq!(report["totals"]["cost_usd"], "0.21");
    for (rows, number, each) in [("by_day", 210, 1_000), ("by_model", 20, 10_500), ("by_key", 50, 4_200)] {
        let rows = report[rows].as_array().unwrap();
        assert_eq!(rows.len(), number);
        assert!(rows.iter().all(|row| row["requests"] == each), "{:?}", rows[0]);
    }
}

#[tokio::test]
async fn more_lines_than_a_report_has_is_told_and_not_cut() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let mut database = app.database().await;
    sqlx::query(
        "INSERT INTO usage_daily (organization_id, day, model, api_key_id, requests, input_tokens, output_tokens,
             cost_nanodollars, estimated_requests, cached_requests, saved_nanodollars)
         SELECT $1::uuid, '2025-06-01', 'one', gen_random_uuid(), 1, 0, 0, 0, 0, 0, 0 FROM generate_series(1, 20000)",
    )
    .bind(&ada.organization)
    .execute(&mut database)
    .await
    .unwrap();
    let refused = ada.client.get("/api/usage?from=2025-06-01&to=2025-06-01").await;
    let problem = refused.problem(422, "invalid_fields");
    assert_eq!(problem["errors"][0]["field"], "from");
    assert!(refused.text().contains("20000"), "{problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_read_from_their_replica_while_it_is_well() {
    let replica = TestDatabase::create().await;
    let (url, mut copy) = (replica.url.clone(), replica.connection().await);
    // As a copy has it that is up to date.
    copy.execute("UPDATE markers SET written_at = now() + interval '1 hour'")
        .await
        .unwrap();
    let app = TestApp::start_with(|config| {
        config.database.reporting_url = Some(url.clone().into());
        config.database.analytics_url = Some(url.into());
        config.database.acquire_timeout = Duration::from_millis(300);
    })
    .await;
    let ada = register(&app).await;
    // No replication here: what it answers tells who was asked.
    set_sum(&mut app.database().await, &ada, 1).await;
    set_sum(&mut copy, &ada, 2).await;
    copy.close().await.unwrap();
    let requests = |from: &str| {
        let (client, path) = (ada.client.clone(), format!("/api/usage?from={from}&to=2025-06-30"));
        async move {
            let report = client.get(&path).await.ok(200);
            report["totals"]["requests"].clone()
        }
    };
    // Another span each time, since a day that is over is remembered.
    let (mut day, mut answer) = (1, requests("2025-05-01").await);
    while answer != 2 {
        // It has not been looked at yet.
        day += 1;
        assert!(day < 30, "{answer}");
        answer = requests(&format!("2025-05-{day:02}")).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(replica);
    assert_eq!(requests("2025-05-31").await, 1);
    assert_eq!(requests("2025-05-30").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_settings_page_does_without_a_report_that_does_not_come() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let browser = Browser::sign_in(&app, &ada).await;
    assert!(browser.get("/settings").await.text().contains("Requests by day"));
    let mut database = app.database().await;
    let mut lock = database.begin().await.unwrap();
    lock.execute("LOCK TABLE usage_daily IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let page = soon("the page", browser.get("/settings")).await;
    assert_eq!(page.status, 200);
    let text = page.text();
    assert!(text.contains("Usage cannot be shown for the moment"), "{text}");
    assert!(text.contains("Change password") && text.contains(&ada.email), "{text}");
}
