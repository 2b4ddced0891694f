//! Ways in which `make run` ends, in each stage of its start: nothing is left, and the next one starts.
//!
//! `xtask test run-ends [STAGE:END…]`: these, or `all`; without arguments each stage and each end at least once.

mod end;
mod run;
mod stage;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use clap::ValueEnum as _;

use super::{Context, make_run::text_of, weights};
use crate::{
    error::TaskError,
    lock, ports,
    postgres::Postgres,
    processes,
    program::{is_on_path, report},
    say,
    services::install,
};

use end::{End, Start};
use run::Run;
use stage::{Stage, Stages};

const CHOSEN: [(Stage, End); 11] = [
    (Stage::Compiling, End::Interrupted),
    (Stage::Compiling, End::MakeKilled),
    (Stage::Building, End::InterruptedTwice),
    (Stage::Building, End::TerminalClosed),
    (Stage::Downloading, End::MakeTerminated),
    (Stage::Downloading, End::ScriptKilled),
    (Stage::Downloading, End::HungUpWithNohup),
    (Stage::Loading, End::Interrupted),
    (Stage::Loading, End::ServerKilled),
    (Stage::Answering, End::MakeKilled),
    (Stage::Answering, End::TerminatedInBackground),
];

pub(super) fn run(context: &Context) -> Result<u8, TaskError> {
    let pairs = pairs(context.arguments)?;
    install(context.checkout, &["compiler", "postgres", "make", "python", "curl"])?;
    let needs_weights = pairs.iter().any(|(stage, _)| *stage >= Stage::Loading);
    let weights = if needs_weights { weights::find(context)? } else { None };
    let stages = Stages::prepare(context, weights)?;
    let mut passed = 0;
    for (stage, end) in pairs {
        let has_weights = stage < Stage::Loading || stages.weights.is_some();
        if has_weights && (end != End::TerminalClosed || is_on_path("script")) {
            try_pair(&stages, stage, end)?;
            passed += 1;
        }
    }

    // Every run that fetched after the first went on from where that ended.
    let requests = stages.requests();
    if requests.len() > 1 {
        if requests[1..].iter().any(|start| start == "0") {
            return TaskError::refused(format!("a download began anew: {}", requests.join(" ")));
        }
        passed += 1;
        say("ok: a download goes on from where the run before it ended");
    }
    if context.arguments.is_empty() && is_on_path("script") {
        without_colour(&stages)?;
        passed += 2;
    }
    say(&format!("\n{passed} passed, 0 failed"));
    Ok(0)
}

fn pairs(arguments: &[String]) -> Result<Vec<(Stage, End)>, TaskError> {
    match arguments {
        [] => Ok(CHOSEN.to_vec()),
        [all] if all == "all" => {
            let every = |stage| End::value_variants().iter().map(move |end| (stage, *end));
            let pairs = Stage::value_variants().iter().flat_map(|stage| every(*stage));
            Ok(pairs
                .filter(|pair| *pair != (Stage::Compiling, End::ServerKilled))
                .collect())
        }
        some => some.iter().map(|text| pair(text)).collect(),
    }
}

fn pair(text: &str) -> Result<(Stage, End), TaskError> {
    let (stage, end) = text.split_once(':').unwrap_or((text, ""));
    let refused = |problem| TaskError::Refused(format!("'{text}' is no STAGE:END: {problem}"));
    let stage = Stage::from_str(stage, false).map_err(refused)?;
    End::from_str(end, false).map(|end| (stage, end)).map_err(refused)
}

fn try_pair(stages: &Stages, stage: Stage, end: End) -> Result<(), TaskError> {
    let run = Run::begin(stages, stage, end.start(), &[])?;
    let _answer = stages.reach(stage, &run)?;
    end.perform(&run)?;
    ended(stages, &run, &format!("{}, {}", name(&stage), name(&end)), end.limit())
}

fn name(value: &impl clap::ValueEnum) -> String {
    value
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}

fn without_colour(stages: &Stages) -> Result<(), TaskError> {
    let run = Run::begin(
        stages,
        Stage::Downloading,
        Start::Terminal,
        &[("TERM", "xterm"), ("NO_COLOR", "1")],
    )?;
    stages.reach(Stage::Downloading, &run)?;
    let output = text_of(&stages.output());
    if let Some(line) = output.lines().find(|line| line.contains('\u{1b}')) {
        return TaskError::refused(format!("with NO_COLOR there is an escape sequence: {line:?}"));
    }
    say("ok: no escape sequence with NO_COLOR");
    End::MakeTerminated.perform(&run)?;
    ended(
        stages,
        &run,
        "downloading on a terminal, make_terminated",
        Duration::from_secs(10),
    )
}

/// Fails unless nothing is left within that time.
fn ended(stages: &Stages, run: &Run, what: &str, limit: Duration) -> Result<(), TaskError> {
    let postgres = Postgres::of_checkout(stages.context.checkout)?;
    let nothing_is_left = || run.processes(None).is_empty() && ports::is_free(run.port) && !postgres.status().1;
    if !stages.context.jobs.until(Instant::now() + limit, nothing_is_left)? {
        for process in run.processes(None) {
            report(&format!("{process}: {}", processes::command_of(process)));
        }
        let seconds = limit.as_secs();
        return TaskError::refused(format!(
            "{what}: {seconds} s later something is left (the processes above; the port; PostgreSQL)"
        ));
    }
    let models = fs::read_dir(stages.path("cache/models"))
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let locks = models
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "lock"));
    let lease = stages.context.checkout.path(".local/postgres.lease");
    if let Some(lock) = locks.chain([lease]).find(|path| is_locked(path)) {
        return TaskError::refused(format!("{what}: {} is locked", lock.display()));
    }
    say(&format!("ok: {what}"));
    Ok(())
}

fn is_locked(path: &Path) -> bool {
    path.exists() && lock::open(path).is_ok_and(|file| file.try_lock().is_err())
}

#[cfg(test)]
mod tests {
    use super::{CHOSEN, End, Stage, pairs};
    use clap::ValueEnum as _;

    #[test]
    fn each_stage_and_each_end_is_tried() {
        let has = |stage| CHOSEN.iter().any(|pair| pair.0 == stage);
        assert!(Stage::value_variants().iter().all(|stage| has(*stage)));
        let has = |end| CHOSEN.iter().any(|pair| pair.1 == end);
        assert!(End::value_variants().iter().all(|end| has(*end)));
        assert_eq!(pairs(&["all".to_owned()]).unwrap().len(), 5 * 9 - 1);
    }

    #[test]
    fn pairs_are_named_as_they_are_shown() {
        let chosen = pairs(&["building:interrupted_twice".to_owned()]).unwrap();
        assert_eq!(chosen, [(Stage::Building, End::InterruptedTwice)]);
        for wrong in ["building", "building:", "begun:interrupted"] {
            assert!(pairs(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
