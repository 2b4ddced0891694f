//! Taking migrations back, and emptying a database of development's.

use super::{count, deployed, run, undo};
use crate::support::database::TestDatabase;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_are_taken_back_in_order_and_losses_need_a_word() {
    let database = TestDatabase::create().await;
    // The record goes with its own migration, and is begun again by the next run.
    let later = ["rollback", "--to", "25", "--by", "Ada", "--accept-loss"];
    let (code, told) = run(&later, &database.url, &[]).await;
    assert_eq!(code, Some(0), "{told}");
    let back = ["rollback", "--to", "23", "--by", "Ada"];
    let (code, told) = run(&back, &database.url, &[]).await;
    assert!(
        code == Some(1) && told.contains("0025_audit_events (DROP TABLE)"),
        "{told}"
    );
    assert!(
        !told.contains("0024_conversations_age_index"),
        "an index is no data: {told}"
    );
    assert_eq!(
        count(&database, "SELECT count(*) FROM _sqlx_migrations WHERE version > 23").await,
        2
    );

    let (code, told) = run(&[&back[..], &["--accept-loss"]].concat(), &database.url, &[]).await;
    assert!(code == Some(0) && told.contains("taken back: [25, 24]"), "{told}");
    let left = "SELECT count(*) FROM pg_class WHERE relname IN ('audit_events', 'conversations_by_age')";
    assert_eq!(count(&database, left).await, 0);
    let recorded =
        "SELECT count(*) FROM migration_runs WHERE command = 'rollback' AND by_whom = 'Ada' AND outcome = 'done'";
    assert_eq!(count(&database, recorded).await, 3);
    let (code, told) = run(&["status"], &database.url, &[]).await;
    assert!(
        code == Some(3) && told.contains("pending      0025_audit_events"),
        "{told}"
    );
    let (code, told) = run(&[], &database.url, &[]).await;
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(count(&database, left).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn production_is_taken_back_in_its_window_or_for_a_reason() {
    let database = TestDatabase::empty().await;
    let (code, told) = run(&[], &database.url, &deployed("production")).await;
    assert_eq!(code, Some(0), "{told}");
    let back = ["rollback", "--to", "24", "--by", "Ada", "--accept-loss"];
    let (code, told) = run(&back, &database.url, &deployed("production")).await;
    assert!(code == Some(4) && told.contains("--outside-window"), "{told}");
    let reason = ["--outside-window", "the audit page fails"];
    let later = [
        "rollback",
        "--to",
        "25",
        "--by",
        "Ada",
        "--accept-loss",
        "--outside-window",
        "the same",
    ];
    let (code, told) = run(&later, &database.url, &deployed("production")).await;
    assert_eq!(code, Some(0), "{told}");
    let (code, told) = run(&[&back[..], &reason].concat(), &database.url, &deployed("production")).await;
    assert_eq!(code, Some(0), "{told}");
    let recorded = "SELECT count(*) FROM migration_runs WHERE version = 25 AND reason = 'the audit page fails'";
    assert_eq!(count(&database, recorded).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn development_s_database_is_reset_by_its_name_and_when_nobody_is_there() {
    let database = TestDatabase::create().await;
    undo(
        &database,
        "INSERT INTO organizations (id, name, created_at) VALUES (gen_random_uuid(), 'Maple', now())",
    )
    .await;
    let (code, told) = run(&["reset", "--database", "mapleai"], &database.url, &[]).await;
    assert!(code == Some(1) && told.contains(&database.name), "{told}");
    let somebody = database.connection().await;
    let (code, told) = run(&["reset", "--database", &database.name], &database.url, &[]).await;
    assert!(code == Some(1) && told.contains("others are connected: pid"), "{told}");
    drop(somebody);
    assert_eq!(count(&database, "SELECT count(*) FROM organizations").await, 1);
    // Sessions end a moment after their connections.
    let mut outcome = (None, String::new());
    for _ in 0..20 {
        outcome = run(&["reset", "--database", &database.name], &database.url, &[]).await;
        if outcome.0 == Some(0) {
            break;
        }
    }
    assert_eq!(outcome.0, Some(0), "{}", outcome.1);
    assert_eq!(count(&database, "SELECT count(*) FROM organizations").await, 0);
    let recorded = "SELECT count(*) FROM migration_runs WHERE command = 'reset' AND outcome = 'done'";
    assert_eq!(count(&database, recorded).await, 1);
}
