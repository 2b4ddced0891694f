//! How many usage records go to the database at once.

use std::time::Duration;

use serde_json::json;
use sqlx::{Executor, PgConnection};

use crate::support::{Client, Reply, TestApp, accounts::register, eventually, upstream::completion};

/// Odd, so that the rest is larger than the half that went before.
const CALLS: usize = 11;

/// Where one record makes a batch, and a statement may take no longer than `statement_timeout`.
async fn start(statement_timeout: Duration) -> (TestApp, Client) {
    let app = TestApp::start_with(|config| {
        config.usage.batch_size = 1;
        config.database.statement_timeout = statement_timeout;
    })
    .await;
    let program = register(&app).await.program().await;
    (app, program)
}

async fn call(app: &TestApp, program: &Client, count: usize) {
    for _ in 0..count {
        app.upstream.reply(Reply::json(200, &completion("Hello", Some((1, 1)))));
        let ask = json!({"model": "maple-chat", "messages": [{"role": "user", "content": "Hi"}]});
        program.post("/v1/chat/completions", &ask).await.ok(200);
    }
}

/// Keeps everybody else from writing usage records until it is dropped.
async fn hold(app: &TestApp) -> PgConnection {
    let mut holder = app.database().await;
    holder
        .execute("BEGIN; LOCK TABLE usage_records IN EXCLUSIVE MODE")
        .await
        .unwrap();
    holder
}

/// The locks that writing a batch and [`hold`] ask for. The service's own care of the table's parts asks for others.
const WRITER: &str = "RowExclusiveLock";
const HOLDER: &str = "ExclusiveLock";

/// Waits until somebody waits for such a lock, or until nobody does.
async fn until_waiting(app: &TestApp, mode: &str, waiting: bool) {
    eventually("those who wait for the lock", || async {
        let statement =
            "SELECT count(*) > 0 FROM pg_locks WHERE relation = 'usage_records'::regclass AND NOT granted AND mode = $1";
        let found: bool = sqlx::query_scalar(statement)
            .bind(mode)
            .fetch_one(&mut app.database().await)
            .await
            .unwrap();
        (found == waiting).then_some(())
    })
    .await;
}

/// Waits until all records are there, and gives the number of transactions that brought them.
async fn batches(app: &TestApp, records: usize) -> i64 {
    eventually("the usage records", || async {
        let both = "SELECT count(*), count(DISTINCT xmin::text) FROM usage_records";
        let (count, batches): (i64, i64) = sqlx::query_as(both).fetch_one(&mut app.database().await).await.unwrap();
        assert!(count <= i64::try_from(records).unwrap(), "none is written twice");
        (count == i64::try_from(records).unwrap()).then_some(batches)
    })
    .await
}

#[tokio::test]
async fn what_came_while_a_batch_was_written_goes_with_the_next() {
    let (app, program) = start(Duration::from_secs(20)).await;
    let holder = hold(&app).await;
    call(&app, &program, 1).await;
    until_waiting(&app, WRITER, true).await;
    call(&app, &program, CALLS).await;
    drop(holder);
    assert_eq!(batches(&app, 1 + CALLS).await, 2);
}

/// A database that is too slow for all of them may not be for some.
#[tokio::test]
async fn what_the_database_did_not_take_is_offered_in_pieces() {
    let (app, program) = start(Duration::from_secs(3)).await;
    let first = hold(&app).await;
    call(&app, &program, 1).await;
    until_waiting(&app, WRITER, true).await;
    call(&app, &program, CALLS).await;
    // Whoever asks first is served first: the second lock comes between the batch that waits and the next.
    let (second, ()) = tokio::join!(hold(&app), async {
        until_waiting(&app, HOLDER, true).await;
        drop(first);
    });
    until_waiting(&app, WRITER, true).await;
    until_waiting(&app, WRITER, false).await;
    drop(second);
    // The first, half of the second, and the rest of it: what has been taken makes the next piece larger again. Where the connection has not
    // prepared the statement yet, that waits for the lock too, the first record waits behind the second holder, and pieces begin at one: 1, 2, 4, 5.
    let batches = batches(&app, 1 + CALLS).await;
    assert!(batches == 3 || batches == 4, "{batches}");
}
