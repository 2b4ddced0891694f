//! Marks of calls under way.

use std::{collections::BTreeSet, fs, path::Path, sync::Arc, time::Instant};

use super::{LIMIT, NEVER, close, is_idle, journal, keep, look, maintain, records};
use crate::usage::journal::{Journal, Opened, writer::Writer};
use domain::{
    model::{Caching, Model, ModelKind},
    money::Price,
    tokens::estimate,
    usage::{CallOutcome, UsageRecord},
};

fn model() -> Model {
    Model {
        id: "maple-chat".into(),
        name: "maple-chat".into(),
        kind: ModelKind::Chat,
        provider: "fake".into(),
        upstream: "maple-chat".into(),
        input_price: Price::default(),
        cached_input_price: Price::default(),
        output_price: Price::default(),
        caching: Caching::Off,
    }
}

fn opened(record: &UsageRecord) -> Opened {
    let mut record = record.clone();
    record.model = "maple-chat".into();
    record.provider = "fake".into();
    Opened {
        record,
        model: Arc::new(model()),
        input_bytes: 400,
        started: Instant::now(),
    }
}

/// What the next process finds of calls, once there are no records before them.
fn found(folder: &Path) -> Vec<UsageRecord> {
    let next = Journal::start(folder, LIMIT, NEVER);
    let orphans = next.orphans(&BTreeSet::new()).unwrap();
    let calls = orphans.iter().filter(|one| one.is_of_calls());
    calls
        .flat_map(|one| one.open_calls().unwrap().unwrap().records)
        .collect()
}

#[test]
fn a_call_that_goes_on_is_marked_and_one_that_is_over_is_not_found() {
    let (journal, folder) = journal();
    let records = records(3);
    let (going, over, short) = (
        journal.begin(opened(&records[0])),
        journal.begin(opened(&records[1])),
        journal.begin(opened(&records[2])),
    );
    drop(short);
    going.note_text(4_000);
    maintain(&journal);
    assert!(!is_idle(&journal));
    // Its own record comes first, and then its mark goes.
    keep(&journal, &records[1]).unwrap();
    drop(over);
    maintain(&journal);
    // As in a process that dies: nobody wipes what is marked.
    drop(going);
    drop(journal);
    let left = found(folder.path());
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!((left[0].id, left[0].outcome), (records[0].id, CallOutcome::Cancelled));
    assert_eq!(
        (left[0].tokens.output, left[0].tokens.input),
        (estimate(4_000), estimate(400))
    );
}

#[test]
fn nothing_delivered_is_nothing_charged_and_the_last_words_of_a_process_are() {
    let (journal, folder) = journal();
    let records = records(2);
    let (silent, talking) = (journal.begin(opened(&records[0])), journal.begin(opened(&records[1])));
    maintain(&journal);
    talking.note_text(40);
    talking.note_text(40);
    maintain(&journal);
    // Within a second of the last mark, but there will be no other.
    look(&journal, Writer::mark_all_calls);
    drop((silent, talking));
    drop(journal);
    let mut left = found(folder.path());
    left.sort_by_key(|record| record.tokens.output);
    assert_eq!(
        left.iter()
            .map(|record| (record.tokens.input, record.tokens.output))
            .collect::<Vec<_>>(),
        [(0, 0), (estimate(400), estimate(80))]
    );
}

#[test]
fn slots_are_used_again_and_a_clean_end_leaves_no_file() {
    let (journal, folder) = journal();
    let record = &records(1)[0];
    for _ in 0..50 {
        let call = journal.begin(opened(record));
        call.note_text(8);
        maintain(&journal);
        drop(call);
        maintain(&journal);
    }
    let size = |folder: &Path| {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let calls = entries.filter(|path| path.extension().is_some_and(|kind| kind == "calls"));
        calls.map(|path| path.metadata().unwrap().len()).sum::<u64>()
    };
    assert!((1..=16 * 512).contains(&size(folder.path())));
    close(&journal);
    assert_eq!(size(folder.path()), 0);
}
