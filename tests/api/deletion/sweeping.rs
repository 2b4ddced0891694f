//! What the sweeper costs: it looks for what is old by an index, however much there is that is not.

use std::time::Duration;

use super::converse;
use crate::support::{TestApp, accounts::register, eventually};

/// So often an index was looked into, and so many rows were read by going through the whole table.
async fn read(app: &TestApp, index: &str, table: &str) -> (i64, i64) {
    sqlx::query_as(
        "SELECT i.idx_scan, t.seq_tup_read FROM pg_stat_user_indexes i, pg_stat_user_tables t
         WHERE i.indexrelname = $1 AND t.relname = $2",
    )
    .bind(index)
    .bind(table)
    .fetch_one(&mut app.database().await)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_answers_and_old_calls_are_found_without_reading_all_there_are() {
    let mut app = TestApp::start().await;
    let owner = register(&app).await;
    let conversation = converse(&app, &owner).await;
    eventually("the call to be recorded", || async {
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM usage_records")
            .fetch_one(&mut app.database().await)
            .await
            .unwrap();
        (rows == 1).then_some(())
    })
    .await;
    let mut database = app.database().await;
    for statement in [
        "INSERT INTO messages (id, organization_id, conversation_id, author, content, status, created_at, updated_at, replaced_at)
         SELECT gen_random_uuid(), m.organization_id, m.conversation_id, 'assistant', 'x', 'complete', m.created_at, m.updated_at,
                CASE WHEN number % 500 = 0 THEN now() - interval '8 days' END
         FROM messages m, generate_series(1, 10000) number WHERE m.author = 'user' AND m.conversation_id = $1::uuid",
        "INSERT INTO usage_records SELECT (jsonb_populate_record(u, jsonb_build_object('id', gen_random_uuid()))).*
         FROM usage_records u, generate_series(1, 10000) WHERE $1 <> ''",
    ] {
        sqlx::query(statement)
            .bind(&conversation)
            .execute(&mut database)
            .await
            .unwrap();
    }
    sqlx::raw_sql("ANALYZE messages; ANALYZE usage_records")
        .execute(&mut database)
        .await
        .unwrap();
    drop(database);

    let looked_into = [
        ("messages_replaced", "messages"),
        ("usage_records_pkey", "usage_records"),
    ];
    let mut before = Vec::new();
    for (index, table) in looked_into {
        before.push(read(&app, index, table).await);
    }
    app.config.retention.interval = Duration::from_millis(50);
    let _sweeping = app.start_second().await;
    eventually("replaced answers to go", || async {
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM messages WHERE replaced_at IS NOT NULL")
            .fetch_one(&mut app.database().await)
            .await
            .unwrap();
        (rows == 0).then_some(())
    })
    .await;
    // Plans of statements that come again and again are made anew, for all values, after some rounds.
    for ((index, table), (looks, _)) in looked_into.into_iter().zip(&before) {
        eventually("many sweeps", || async {
            (read(&app, index, table).await.0 > looks + 20).then_some(())
        })
        .await;
    }
    for ((index, table), (_, rows)) in looked_into.into_iter().zip(before) {
        let read = read(&app, index, table).await.1 - rows;
        assert_eq!(read, 0, "rows of {table} read beside {index}");
    }
}
