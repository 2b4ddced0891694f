//! What staging and production ask for before their schemas change.

use std::{fs, os::unix::fs::PermissionsExt as _};

use chrono::{TimeDelta, Utc};
use serde_json::Value;
use tempfile::TempDir;

use super::{count, deployed, run, undo};
use crate::support::database::TestDatabase;

const WITHOUT_24: &str = "DROP INDEX conversations_by_age; DELETE FROM _sqlx_migrations WHERE version = 24";

/// A database of an environment's that lacks one migration.
async fn lacking_one(environment: &'static str) -> TestDatabase {
    let database = TestDatabase::empty().await;
    let (code, told) = run(&[], &database.url, &deployed(environment)).await;
    assert_eq!(code, Some(0), "{told}");
    undo(&database, WITHOUT_24).await;
    database
}

async fn plan(database: &TestDatabase, environment: &'static str) -> Value {
    let (code, told) = run(&["plan", "--json"], &database.url, &deployed(environment)).await;
    assert_eq!(code, Some(0), "{told}");
    serde_json::from_str(&told).unwrap()
}

/// A program that makes a backup, or says so.
fn backup(folder: &TempDir, last_line: &str) -> String {
    let path = folder.path().join("backup");
    fs::write(
        &path,
        format!("#!/bin/sh\necho \"saving ${{DATABASE_URL:?}}\"\necho '{last_line}'\n"),
    )
    .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn line(minutes: i64) -> String {
    serde_json::json!({"label": "before-24", "completed_at": Utc::now() - TimeDelta::minutes(minutes)}).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staging_applies_the_plan_that_was_reviewed_after_a_backup() {
    let database = lacking_one("staging").await;
    let digest = plan(&database, "staging").await["digest"].as_str().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let fresh = backup(&folder, &line(1));
    let apply = async |arguments: &[&str], backup: &str| {
        let variables = [deployed("staging"), vec![("MAPLE__MIGRATIONS__BACKUP_COMMAND", "")]].concat();
        let mut variables = variables;
        variables.last_mut().unwrap().1 = backup;
        run(&[&["apply"], arguments].concat(), &database.url, &variables).await
    };
    let reviewed = ["--reviewed", digest.as_str(), "--by", "Ada"];
    let other = "0".repeat(64);
    for (arguments, command, code, word) in [
        (&[][..], fresh.as_str(), 4, digest.as_str()),
        (&["--reviewed", &digest], &fresh, 4, "--by"),
        (&["--reviewed", &other, "--by", "Ada"], &fresh, 5, "another database"),
        (&reviewed, "", 4, "migrations.backup_command is empty"),
        // It ends well and shows nothing.
        (&reviewed, "/bin/true", 4, "no evidence of a backup"),
        (&reviewed, "/bin/false", 4, "ended with"),
        (&reviewed, "/nowhere", 4, "cannot be run"),
    ] {
        let (found, told) = apply(arguments, command).await;
        assert_eq!(found, Some(code), "{arguments:?} {command}: {told}");
        assert!(
            told.contains(word) && told.contains("nothing was written"),
            "{arguments:?} {command}: {told}"
        );
    }
    let stale = backup(&folder, &line(61));
    let (code, told) = apply(&reviewed, &stale).await;
    assert!(code == Some(4) && told.contains("backup_max_age"), "{told}");
    assert_eq!(
        count(&database, "SELECT count(*) FROM migration_runs WHERE versions = '{24}'").await,
        0
    );

    let fresh = backup(&folder, &line(1));
    let (code, told) = apply(&reviewed, &fresh).await;
    assert_eq!(code, Some(0), "{told}");
    let kept: (String, String, String) = sqlx::query_as(
        "SELECT by_whom, digest, backup FROM migration_runs WHERE version = 24 AND outcome = 'done' ORDER BY id DESC LIMIT 1",
    )
    .fetch_one(&mut database.connection().await)
    .await
    .unwrap();
    assert_eq!((kept.0.as_str(), &kept.1), ("Ada", &digest));
    assert!(kept.2.contains("before-24"), "{}", kept.2);
    // Nothing is missing, and nothing asked for: the Job of each deployment runs.
    let (code, told) = apply(&[], "").await;
    assert_eq!(code, Some(0), "{told}");
    let (_, told) = run(&["status"], &database.url, &deployed("staging")).await;
    assert!(
        told.contains("0024_conversations_age_index") && told.contains("by Ada") && told.contains("up to date"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_interrupted_goes_on_under_its_review() {
    let database = lacking_one("staging").await;
    undo(
        &database,
        "ALTER TABLE organizations DROP COLUMN delete_by; DELETE FROM _sqlx_migrations WHERE version = 22",
    )
    .await;
    let digest = plan(&database, "staging").await["digest"].as_str().unwrap().to_owned();
    let line = line(1);
    let arguments = ["apply", "--reviewed", &digest, "--by", "Ada", "--backup", &line];
    // The second of the two cannot be done.
    undo(&database, "ALTER TABLE conversations RENAME TO away").await;
    let (code, told) = run(&arguments, &database.url, &deployed("staging")).await;
    assert!(code == Some(1) && told.contains("migration 24 failed"), "{told}");
    undo(&database, "ALTER TABLE away RENAME TO conversations").await;
    assert_ne!(plan(&database, "staging").await["digest"], digest.as_str());
    let (code, told) = run(&arguments, &database.url, &deployed("staging")).await;
    assert_eq!(code, Some(0), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn production_keeps_to_its_window_or_says_why_not() {
    let database = lacking_one("production").await;
    let digest = plan(&database, "production").await["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let line = line(1);
    let reviewed = ["apply", "--reviewed", &digest, "--by", "Ada", "--backup", &line];
    let never = Utc::now() + TimeDelta::hours(2);
    let window = never.format("%a %H:%M for 1h").to_string();
    for (window, word) in [("", "has none"), (window.as_str(), "opens in 1 h")] {
        let variables = [deployed("production"), vec![("MAPLE__MIGRATIONS__WINDOW", "")]].concat();
        let mut variables = variables;
        variables.last_mut().unwrap().1 = window;
        let (code, told) = run(&reviewed, &database.url, &variables).await;
        assert!(code == Some(4) && told.contains(word), "{told}");
    }
    let (code, told) = run(
        &[&reviewed[..], &["--outside-window", "a report stands still"]].concat(),
        &database.url,
        &deployed("production"),
    )
    .await;
    assert_eq!(code, Some(0), "{told}");
    let recorded = "SELECT count(*) FROM migration_runs WHERE reason = 'a report stands still' AND version = 24";
    assert_eq!(count(&database, recorded).await, 1);
    undo(&database, WITHOUT_24).await;
    let open = [
        deployed("production"),
        vec![("MAPLE__MIGRATIONS__WINDOW", "daily 00:00 for 24h")],
    ]
    .concat();
    let (code, told) = run(&reviewed, &database.url, &open).await;
    assert_eq!(code, Some(0), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_tells_locks_sizes_losses_and_the_way_back() {
    let database = lacking_one("staging").await;
    undo(
        &database,
        "DROP TABLE audit_events; ALTER TABLE organizations DROP COLUMN delete_by; CREATE INDEX usage_records_by_organization
         ON usage_records (organization_id); DELETE FROM _sqlx_migrations WHERE version IN (13, 22, 25)",
    )
    .await;
    let mut plan = plan(&database, "staging").await;
    assert_eq!(plan["digest"].as_str().unwrap().len(), 64);
    assert_eq!(plan["database"]["name"], database.name.as_str());
    // What differs each time, and texts that stand in files already.
    plan["digest"] = "DIGEST".into();
    plan["database"] = "DATABASE".into();
    for planned in plan["pending"].as_array_mut().unwrap() {
        for text in ["sql", "checksum"] {
            assert!(planned[text].as_str().is_some_and(|text| !text.is_empty()));
            planned[text] = text.to_uppercase().into();
            planned["way_back"][text] = text.to_uppercase().into();
        }
    }
    for table in plan["tables"].as_array_mut().unwrap() {
        table["bytes_with_indexes"] = "BYTES".into();
    }
    insta::assert_json_snapshot!("plan", plan);
    let (code, told) = run(&["plan"], &database.url, &deployed("staging")).await;
    assert_eq!(code, Some(0));
    for word in [
        "=== 0024_conversations_age_index (outside a transaction)",
        "CREATE INDEX CONCURRENTLY: lock SHARE UPDATE EXCLUSIVE on conversations",
        "takes away: DROP INDEX (reviewed)",
        "LOSES DATA: DROP TABLE",
        "digest       ",
    ] {
        assert!(told.contains(word), "{word}: {told}");
    }
}
