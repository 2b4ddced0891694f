use super::{Lock, Work, read, split};
use crate::migrations::MIGRATOR;

#[test]
fn a_file_is_cut_at_the_ends_of_its_statements() {
    let sql = "-- a comment; with one\nSET LOCAL lock_timeout = '5s';\n\nCREATE FUNCTION f() RETURNS trigger AS $$\nBEGIN\n    x; y;\nEND\n$$;\
               INSERT INTO é VALUES ('a;b', E'\\'', \"ü\"); /* ; */ SELECT 1";
    assert_eq!(
        split(sql),
        [
            "SET LOCAL lock_timeout = '5s'",
            "CREATE FUNCTION f() RETURNS trigger AS $$\nBEGIN\n    x; y;\nEND\n$$",
            "INSERT INTO é VALUES ('a;b', E'\\'', \"ü\")",
            "SELECT 1",
        ]
    );
    assert!(split(" -- nothing\n;;").is_empty());
    let unreadable = "SELECT 'without an end; x";
    assert_eq!(split(unreadable), [unreadable]);
}

/// One that is added later and cannot be read would be planned as the worst: it gets an entry in `kinds` then.
#[test]
fn the_project_s_own_migrations_are_read() {
    for migration in MIGRATOR.iter() {
        for statement in read(migration.sql.as_str()) {
            assert!(
                !statement.kind.contains("taken for the worst"),
                "{}: {statement:?}",
                migration.version
            );
        }
    }
}

#[test]
fn each_statement_has_its_lock_and_its_work() {
    for (sql, lock, work, tables) in [
        ("SET LOCAL lock_timeout = '5s'", Lock::None, Work::Metadata, vec![]),
        ("CREATE TABLE t (a int)", Lock::None, Work::Metadata, vec![]),
        (
            "CREATE TABLE t (a int REFERENCES u (id))",
            Lock::ShareRowExclusive,
            Work::Metadata,
            vec!["u"],
        ),
        (
            "CREATE TABLE t (a int, FOREIGN KEY (a) REFERENCES u (id))",
            Lock::ShareRowExclusive,
            Work::Metadata,
            vec!["u"],
        ),
        (
            "ALTER TABLE t ADD COLUMN a int",
            Lock::AccessExclusive,
            Work::Metadata,
            vec!["t"],
        ),
        (
            "ALTER TABLE t ADD COLUMN a int NOT NULL DEFAULT -1",
            Lock::AccessExclusive,
            Work::Metadata,
            vec!["t"],
        ),
        (
            "ALTER TABLE t ADD COLUMN a uuid DEFAULT gen_random_uuid()",
            Lock::AccessExclusive,
            Work::Rewrite,
            vec!["t"],
        ),
        (
            "ALTER TABLE t ALTER COLUMN a TYPE bigint",
            Lock::AccessExclusive,
            Work::Rewrite,
            vec!["t"],
        ),
        (
            "ALTER TABLE t ALTER COLUMN a SET NOT NULL",
            Lock::AccessExclusive,
            Work::Scan,
            vec!["t"],
        ),
        (
            "ALTER TABLE t ALTER COLUMN a SET DEFAULT 1",
            Lock::AccessExclusive,
            Work::Metadata,
            vec!["t"],
        ),
        (
            "ALTER TABLE t DROP COLUMN a",
            Lock::AccessExclusive,
            Work::Metadata,
            vec!["t"],
        ),
        (
            "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0)",
            Lock::AccessExclusive,
            Work::Scan,
            vec!["t"],
        ),
        (
            "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID",
            Lock::AccessExclusive,
            Work::Metadata,
            vec!["t"],
        ),
        (
            "ALTER TABLE t ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES u (id) NOT VALID",
            Lock::ShareRowExclusive,
            Work::Metadata,
            vec!["t", "u"],
        ),
        (
            "ALTER TABLE t VALIDATE CONSTRAINT c",
            Lock::ShareUpdateExclusive,
            Work::Scan,
            vec!["t"],
        ),
        ("CREATE INDEX i ON t (a)", Lock::Share, Work::Index, vec!["t"]),
        (
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a) WHERE a > 0",
            Lock::ShareUpdateExclusive,
            Work::Index,
            vec!["t"],
        ),
        (
            "DROP INDEX CONCURRENTLY IF EXISTS i",
            Lock::ShareUpdateExclusive,
            Work::Metadata,
            vec![],
        ),
        ("DROP INDEX i", Lock::AccessExclusive, Work::Metadata, vec![]),
        ("DROP TABLE t", Lock::AccessExclusive, Work::Metadata, vec!["t"]),
        (
            "CREATE TRIGGER g AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
            Lock::ShareRowExclusive,
            Work::Metadata,
            vec!["t"],
        ),
        ("UPDATE t SET a = 1", Lock::RowExclusive, Work::Rows, vec!["t"]),
        (
            "INSERT INTO t SELECT * FROM u",
            Lock::RowExclusive,
            Work::Rows,
            vec!["t"],
        ),
        ("DELETE FROM t WHERE a = 1", Lock::RowExclusive, Work::Rows, vec!["t"]),
        ("TRUNCATE t", Lock::AccessExclusive, Work::Metadata, vec!["t"]),
        (
            "DO $$ BEGIN PERFORM 1; END $$",
            Lock::AccessExclusive,
            Work::Rewrite,
            vec![],
        ),
        ("REINDEX TABLE t", Lock::AccessExclusive, Work::Rewrite, vec![]),
    ] {
        let found = read(sql);
        assert_eq!(found.len(), 1, "{sql}");
        assert_eq!((found[0].lock, found[0].work), (lock, work), "{sql}");
        assert_eq!(found[0].tables, tables, "{sql}");
    }
}

#[test]
fn what_the_migration_itself_has_made_keeps_nobody_out() {
    let found = read(
        "CREATE TABLE t (a int); CREATE INDEX i ON t (a); ALTER TABLE t ADD COLUMN b int; CREATE INDEX j ON u (a)",
    );
    let locks: Vec<_> = found.iter().map(|statement| statement.lock).collect();
    assert_eq!(locks, [Lock::None, Lock::None, Lock::None, Lock::Share]);
}

#[test]
fn a_migration_s_own_limits_are_seen() {
    let found = read("SET LOCAL lock_timeout = '5s'; SET statement_timeout TO 0; SET LOCAL work_mem = '64MB'");
    let limits: Vec<_> = found.iter().map(|statement| statement.sets_limit).collect();
    assert_eq!(limits, [true, true, false]);
}
