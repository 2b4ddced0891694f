//! What a migration waits for, and who waits behind it.

use sqlx::{Connection as _, PgConnection};

use super::{count, ended, migrate, run, undo};
use crate::support::{database::TestDatabase, eventually};

const WITHOUT_22: &str =
    "ALTER TABLE organizations DROP COLUMN delete_by; DELETE FROM _sqlx_migrations WHERE version = 22";
const COLUMN_22: &str =
    "SELECT count(*) FROM pg_attribute WHERE attrelid = 'organizations'::regclass AND attname = 'delete_by'";

/// A session that has read the table and not come to an end.
async fn reader(database: &TestDatabase, table: &'static str) -> PgConnection {
    let mut connection = database.connection().await;
    for statement in ["SET application_name = 'a long report'", "BEGIN"] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    let lock = format!("LOCK TABLE {table} IN ACCESS SHARE MODE");
    sqlx::raw_sql(sqlx::AssertSqlSafe(lock))
        .execute(&mut connection)
        .await
        .unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_get_through_while_a_migration_waits_and_it_succeeds_afterwards() {
    let database = TestDatabase::create().await;
    undo(&database, WITHOUT_22).await;
    let mut report = reader(&database, "organizations").await;
    let waiting = migrate(&database.url, &[]);
    let tries = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mapleai migrate' AND datname = current_database() \
                 AND wait_event_type = 'Lock'";
    // The file itself would wait for five seconds, and everybody who comes after it.
    let mut others = database.connection().await;
    sqlx::query("SET lock_timeout = '2s'")
        .execute(&mut others)
        .await
        .unwrap();
    for _ in 0..3 {
        eventually("a try for the lock", || async {
            (count(&database, tries).await == 1).then_some(())
        })
        .await;
        sqlx::query("SELECT FROM organizations")
            .execute(&mut others)
            .await
            .unwrap();
    }
    sqlx::query("COMMIT").execute(&mut report).await.unwrap();
    let ended = ended(waiting).await;
    let log = String::from_utf8(ended.stdout).unwrap();
    assert!(ended.status.success(), "{log}");
    assert!(
        log.contains("it is tried again") && log.contains("a long report"),
        "{log}"
    );
    assert_eq!(count(&database, COLUMN_22).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_the_lock_is_named_at_the_limit() {
    let database = TestDatabase::create().await;
    undo(&database, WITHOUT_22).await;
    let mut report = reader(&database, "organizations").await;
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut report)
        .await
        .unwrap();
    let (code, told) = run(&["apply"], &database.url, &[("MAPLE__MIGRATIONS__LOCK_LIMIT", "1s")]).await;
    assert_eq!(code, Some(1), "{told}");
    for word in [
        "migration 22 has waited",
        &format!("pid {pid}"),
        "a long report",
        "idle in transaction",
        "last query: SELECT pg_backend_pid()",
    ] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let failed = "SELECT count(*) FROM migration_runs WHERE version = 22 AND outcome = 'failed' AND reason LIKE '%a long report%'";
    assert_eq!(count(&database, failed).await, 1);
    let (code, told) = run(&["status"], &database.url, &[]).await;
    assert!(
        code == Some(3) && told.contains("pending      0022_who_deletes"),
        "{told}"
    );
    report.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_was_killed_in_its_middle_is_done_by_the_next() {
    let database = TestDatabase::create().await;
    undo(
        &database,
        "ALTER TABLE usage_records DROP COLUMN cached_input_tokens; ALTER TABLE usage_daily DROP COLUMN cached_input_tokens;
         DELETE FROM _sqlx_migrations WHERE version = 15",
    )
    .await;
    // The first statement is done when the second waits.
    let mut report = reader(&database, "usage_daily").await;
    let mut first = migrate(&database.url, &[]);
    let holds = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE application_name = 'mapleai migrate' \
                 AND relation = 'usage_records'::regclass AND mode = 'AccessExclusiveLock' AND granted";
    eventually("the middle", || async {
        (count(&database, holds).await > 0).then_some(())
    })
    .await;
    first.kill().unwrap();
    first.wait().unwrap();
    sqlx::query("COMMIT").execute(&mut report).await.unwrap();
    let (code, told) = run(&[], &database.url, &[]).await;
    assert_eq!(code, Some(0), "{told}");
    let columns = "SELECT count(*) FROM pg_attribute WHERE attname = 'cached_input_tokens' AND NOT attisdropped \
                   AND attrelid IN ('usage_records'::regclass, 'usage_daily'::regclass)";
    assert_eq!(count(&database, columns).await, 2);
    // The run that was killed has begun and never ended; the other has done both.
    let begun =
        "SELECT count(DISTINCT run) FROM migration_runs WHERE 15 = ANY (versions) AND cardinality(versions) = 1";
    let done =
        "SELECT count(*) FROM migration_runs WHERE version = 15 AND outcome = 'done' AND cardinality(versions) = 1";
    assert_eq!((count(&database, begun).await, count(&database, done).await), (2, 1));
}

/// Written by us and not by sqlx: an older release reads it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlx_s_own_runner_finds_everything_applied() {
    let database = TestDatabase::create().await;
    let migrator = sqlx::migrate::Migrator::new(std::path::Path::new("migrations"))
        .await
        .unwrap();
    let mut connection = database.connection().await;
    let before = count(&database, "SELECT sum(version)::bigint FROM _sqlx_migrations").await;
    migrator.run(&mut connection).await.unwrap();
    assert_eq!(
        count(&database, "SELECT sum(version)::bigint FROM _sqlx_migrations").await,
        before
    );
    let timed = "SELECT count(*) FROM _sqlx_migrations WHERE execution_time > 0 AND success AND description <> ''";
    assert_eq!(
        count(&database, timed).await,
        i64::try_from(migrator.iter().count() / 2).unwrap()
    );
}
