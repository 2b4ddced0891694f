//! What cannot be read, or is refused by the database, is kept for a person to look at, and holds nobody up.

use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::AtomicI64},
};

use sqlx::AssertSqlSafe;
use tempfile::TempDir;
use uuid::Uuid;

use super::{NEVER, ask, load_until_killed, missing, program, recorded};
use crate::support::{FakeUpstream, database::TestDatabase, eventually, postgres::Postgres, served::Process};

/// Files of the journal by the ends of their names.
fn files(folder: &Path, kind: &str) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder.join(".local/journal")).unwrap();
    let all = entries.map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = all
        .filter(|path| path.extension().is_some_and(|end| end == kind))
        .collect();
    found.sort();
    found
}

/// No record with this many tokens is taken: as a value that the database does not know.
async fn refuse(connection: &mut sqlx::PgConnection, number: i64) {
    let statement = format!("ALTER TABLE usage_records ADD CONSTRAINT refused CHECK (input_tokens <> {number})");
    sqlx::query(AssertSqlSafe(statement)).execute(connection).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_the_database_refuses_is_set_aside_and_the_rest_goes_on() {
    let database = TestDatabase::create().await;
    let upstream = FakeUpstream::start().await;
    let folder = TempDir::new().unwrap();
    let often = ("MAPLE__USAGE__FLUSH_INTERVAL", "20ms");
    let process = Process::start(folder.path(), &database.url, &upstream, &[often]);
    let program = program(&process.client).await;
    refuse(&mut database.connection().await, 1_000_003).await;
    let numbers: Vec<i64> = (1_000_000..1_000_008).collect();
    for number in &numbers {
        assert!(ask(&program, *number).await);
    }
    let told = process.told("the database refuses a usage record; it is set aside for you to look at");
    assert!(told["error"].as_str().unwrap().contains("refused"), "no cause: {told}");
    assert!(
        fs::metadata(
            told["set_aside"]
                .as_str()
                .unwrap()
                .replace(".local", &format!("{}/.local", folder.path().display()))
        )
        .unwrap()
        .len()
            > 100
    );
    eventually("the others", || async {
        let recorded = recorded(&mut database.connection().await).await;
        (missing(&recorded, &numbers) == 1).then_some(())
    })
    .await;
    process.stop().await;
    assert_eq!(
        (
            files(folder.path(), "usage").len(),
            files(folder.path(), "damaged").len()
        ),
        (0, 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leftovers_with_damage_are_filed_as_far_as_they_go_and_kept() {
    let mut postgres = Postgres::start().await;
    let upstream = FakeUpstream::start().await;
    let folder = TempDir::new().unwrap();
    let mut process = Process::start(folder.path(), &postgres.url(), &upstream, &[NEVER]);
    let program = program(&process.client).await;
    // What is known needs no database.
    assert!(ask(&program, 999_999).await);
    postgres.kill();
    let next = Arc::new(AtomicI64::new(1_000_000));
    let answered = load_until_killed(&mut process, &program, &next, 60).await;
    let left = files(folder.path(), "usage");
    let file = left.iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = fs::read(file).unwrap();
    // One flipped bit, and one record cut off.
    bytes[200] ^= 1;
    bytes.truncate(bytes.len() - 5);
    fs::write(file, &bytes).unwrap();
    // And one of all others that the database refuses.
    postgres.bring_back().await;
    let mut sorted = answered.clone();
    sorted.sort_unstable();
    // One of the middle, which is neither the first of its file nor the last.
    let refused = sorted[sorted.len() / 2];
    refuse(&mut postgres.connection().await, refused).await;

    let process = Process::start(folder.path(), &postgres.url(), &upstream, &[NEVER]);
    process.told("the database refuses a usage record; it is set aside for you to look at");
    eventually("the others", || async {
        let recorded = recorded(&mut postgres.connection().await).await;
        let missing = missing(&recorded, &answered);
        (missing <= 3).then_some(())
    })
    .await;
    eventually("the file to be set aside", || async {
        files(folder.path(), "usage")
            .iter()
            .all(|path| !left.contains(path))
            .then_some(())
    })
    .await;
    let kept = files(folder.path(), "damaged");
    assert!(
        kept.iter().any(|path| fs::read(path).unwrap() == bytes),
        "it is as it was: {kept:?}"
    );
    // It is not read again, and holds nothing up.
    process.stop().await;
    let process = Process::start(folder.path(), &postgres.url(), &upstream, &[NEVER]);
    assert!(ask(&program_of(&process, &program), 2_000_000).await);
    process.stop().await;
    assert_eq!(files(folder.path(), "damaged"), kept);
}

/// Each by itself: an end that is missing in the middle of a record, and one that only the length in the name tells of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_has_lost_its_end_is_kept() {
    let (database, upstream) = (TestDatabase::create().await, FakeUpstream::start().await);
    let folder = TempDir::new().unwrap();
    let mut process = Process::start(folder.path(), &database.url, &upstream, &[NEVER]);
    let program = program(&process.client).await;
    load_until_killed(&mut process, &program, &Arc::new(AtomicI64::new(1_000_000)), 8).await;
    let left = files(folder.path(), "usage");
    let file = left.iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let whole = fs::read(file).unwrap();
    // Under names of other processes: the owner's id, the segment's number and, once it is sealed, its length.
    let left_by_another = |length: Option<usize>, bytes: &[u8]| {
        let length = length.map_or(String::new(), |length| format!("-{length}"));
        let stem = file.file_stem().unwrap().to_str().unwrap();
        let number = stem.split('-').nth(5).unwrap();
        let path = file.with_file_name(format!("{}-{number}{length}.usage", Uuid::new_v4()));
        fs::write(&path, bytes).unwrap();
        path
    };
    let intact = left_by_another(Some(whole.len()), &whole);
    let cut_off = left_by_another(None, &whole[..whole.len() - 5]);
    let shorter = left_by_another(Some(whole.len() + 500), &whole);

    let process = Process::start(folder.path(), &database.url, &upstream, &[NEVER]);
    eventually("all files to be filed", || async {
        let rest = [&intact, &cut_off, &shorter].map(|path| path.exists());
        (rest == [false; 3]).then_some(())
    })
    .await;
    let mut kept = [cut_off, shorter].map(|path| path.with_extension("damaged"));
    kept.sort();
    assert_eq!(files(folder.path(), "damaged"), kept);
    process.stop().await;
}

fn program_of(process: &Process, program: &crate::support::Client) -> crate::support::Client {
    process.client.with(program.bearer().unwrap())
}
