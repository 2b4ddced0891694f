//! Whose a database is, and who may touch it.

use super::{count, deployed, run, undo};
use crate::support::{database::TestDatabase, eventually, postgres::Postgres};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_says_whose_it_is_from_its_first_migration_on() {
    let database = TestDatabase::empty().await;
    let (code, told) = run(&["status"], &database.url, &deployed("staging")).await;
    assert!(code == Some(3) && told.contains("it is empty"), "{told}");
    // Empty: nothing to lose, and so nothing to show.
    let (code, told) = run(&[], &database.url, &deployed("staging")).await;
    assert_eq!(code, Some(0), "{told}");
    let (code, told) = run(&["status", "--json"], &database.url, &deployed("production")).await;
    let status: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(
        (&status["environment"], &status["pending"]),
        (&"staging".into(), &serde_json::json!([]))
    );
    // Each is refused it: with a word of whose it is, and of where to look.
    for (environment, arguments) in [
        ("production", vec!["apply"]),
        ("production", vec!["plan"]),
        ("production", vec!["mark", "--environment", "production", "--by", "Eve"]),
        (
            "production",
            vec!["rollback", "--to", "25", "--by", "Eve", "--accept-loss"],
        ),
        ("development", vec![]),
        ("development", vec!["seed"]),
        ("development", vec!["reset", "--database", &database.name]),
    ] {
        let (code, told) = run(&arguments, &database.url, &deployed(environment)).await;
        assert_eq!(code, Some(1), "{environment} {arguments:?}: {told}");
        assert!(
            told.contains("staging's name stands in it"),
            "{environment} {arguments:?}: {told}"
        );
    }
    assert_eq!(count(&database, "SELECT count(*) FROM users").await, 0);
    let rewritten = sqlx::query("UPDATE deployment SET environment = 'development'")
        .execute(&mut database.connection().await)
        .await;
    assert!(rewritten.unwrap_err().to_string().contains("only ever added to"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_from_before_is_the_deployed_environment_s_or_is_marked_by_somebody() {
    let unmark =
        "DROP TABLE mapleai_development, deployment, migration_runs; DELETE FROM _sqlx_migrations WHERE version = 26";
    let upgraded = TestDatabase::create().await;
    undo(&upgraded, unmark).await;
    let variables = [deployed("staging"), vec![("MAPLE__MIGRATIONS__REVIEW", "none")]].concat();
    let (code, told) = run(&[], &upgraded.url, &variables).await;
    assert_eq!(code, Some(0), "{told}");
    let says = "SELECT count(*) FROM deployment WHERE environment = 'staging'";
    assert_eq!(count(&upgraded, says).await, 1);

    // Development's own, by the mark of before.
    let own = TestDatabase::create().await;
    undo(
        &own,
        "DROP TABLE deployment, migration_runs; DELETE FROM _sqlx_migrations WHERE version = 26",
    )
    .await;
    let (code, told) = run(&[], &own.url, &deployed("production")).await;
    assert!(
        code == Some(1) && told.contains("development's name stands in it"),
        "{told}"
    );
    let (code, told) = run(&[], &own.url, &[]).await;
    assert_eq!(code, Some(0), "{told}");

    let unknown = TestDatabase::create().await;
    undo(&unknown, unmark).await;
    let (code, told) = run(&[], &unknown.url, &[]).await;
    assert!(code == Some(1) && told.contains("counts as production's"), "{told}");
    let (code, told) = run(
        &["mark", "--environment", "production", "--by", "Ada"],
        &unknown.url,
        &[],
    )
    .await;
    assert!(code == Some(1) && told.contains("MAPLE_ENV is development"), "{told}");
    let (code, told) = run(
        &["mark", "--environment", "development", "--by", "Ada"],
        &unknown.url,
        &[],
    )
    .await;
    assert_eq!(code, Some(0), "{told}");
    let (code, told) = run(&["seed"], &unknown.url, &[]).await;
    assert!(code == Some(0) && told.contains("demo@maple.example / "), "{told}");
    let recorded = "SELECT count(*) FROM migration_runs WHERE command = 'mark' AND by_whom = 'Ada'";
    assert_eq!(count(&unknown, recorded).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reset_writes_nothing_to_a_database_of_production() {
    let postgres = Postgres::empty().await;
    let (code, told) = run(&[], &postgres.url(), &deployed("production")).await;
    assert_eq!(code, Some(0), "{told}");
    let mut connection = postgres.connection().await;
    for statement in ["ALTER SYSTEM SET log_statement = 'all'", "SELECT pg_reload_conf()"] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    eventually("the log of statements", || async {
        sqlx::query("SELECT 'logged'")
            .execute(&mut postgres.connection().await)
            .await
            .unwrap();
        postgres.log().contains("SELECT 'logged'").then_some(())
    })
    .await;
    let before = postgres.log().len();
    for variables in [vec![], deployed("development"), deployed("production")] {
        let (code, told) = run(&["reset", "--database", "postgres"], &postgres.url(), &variables).await;
        assert_eq!(code, Some(1), "{told}");
    }
    let log = postgres.log();
    assert!(log[before..].contains("pg_try_advisory_lock"), "{}", &log[before..]);
    let log = log[before..].to_uppercase();
    for word in [
        "DROP ",
        "CREATE ",
        "INSERT ",
        "UPDATE ",
        "DELETE ",
        "ALTER TABLE",
        "TRUNCATE",
        "BEGIN",
    ] {
        assert!(!log.contains(word), "{word}: {log}");
    }
}
