//! Ways in which a person, a terminal or a runner ends `make run`.

use std::{thread, time::Duration};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::run::Run;
use crate::{error::TaskError, processes};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum End {
    /// What a terminal's Ctrl-C reaches: all that is in make's own group
    Interrupted,
    InterruptedTwice,
    TerminalClosed,
    MakeTerminated,
    MakeKilled,
    ScriptKilled,
    ServerKilled,
    TerminatedInBackground,
    /// Started with `nohup`, it outlives its terminal, and ends as it does otherwise
    HungUpWithNohup,
}

/// How `make run` is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// As a terminal's shell does it, with Ctrl-C taken
    Plain,
    /// On one of its own
    Terminal,
    /// As `make run &` in a script that ends
    Background,
    Nohup,
}

impl End {
    pub(super) fn start(self) -> Start {
        match self {
            Self::TerminalClosed => Start::Terminal,
            Self::TerminatedInBackground => Start::Background,
            Self::HungUpWithNohup => Start::Nohup,
            _ => Start::Plain,
        }
    }

    /// Who is killed cleans nothing up, and others have to notice.
    pub(super) fn limit(self) -> Duration {
        match self {
            Self::MakeKilled | Self::ScriptKilled | Self::ServerKilled => Duration::from_secs(30),
            _ => Duration::from_secs(10),
        }
    }

    pub(super) fn perform(self, run: &Run) -> Result<(), TaskError> {
        let make = run.make;
        match self {
            Self::Interrupted => signal_group(make, Signal::INT),
            Self::InterruptedTwice => {
                signal_group(make, Signal::INT);
                thread::sleep(Duration::from_millis(200));
                signal_group(make, Signal::INT);
            }
            Self::TerminalClosed => {
                let mut terminal = make;
                while processes::name_of(terminal) != "script" {
                    let parent = processes::parent_of(terminal).filter(|parent| *parent > 1);
                    let none = || TaskError::Refused("make has no terminal of its own".to_owned());
                    terminal = parent.ok_or_else(none)?;
                }
                signal(terminal, Signal::KILL);
            }
            Self::MakeTerminated | Self::TerminatedInBackground => signal(make, Signal::TERM),
            Self::MakeKilled => signal(make, Signal::KILL),
            Self::ScriptKilled => {
                let children = run.processes(None).into_iter();
                let children = children.filter(|process| processes::parent_of(*process) == Some(make));
                children.for_each(|process| signal(process, Signal::KILL));
            }
            Self::ServerKilled => run
                .processes(Some("mapleai"))
                .into_iter()
                .for_each(|process| signal(process, Signal::KILL)),
            Self::HungUpWithNohup => {
                signal_group(make, Signal::HUP);
                thread::sleep(Duration::from_secs(1));
                if !processes::runs(make) {
                    return TaskError::refused("make run with nohup ended with its terminal");
                }
                signal(make, Signal::TERM);
            }
        }
        Ok(())
    }
}

pub(super) fn signal(process: i32, signal: Signal) {
    if let Some(process) = Pid::from_raw(process) {
        _ = kill_process(process, signal);
    }
}

fn signal_group(process: i32, signal: Signal) {
    if let Some(group) = processes::group_of(process).and_then(Pid::from_raw) {
        _ = kill_process_group(group, signal);
    }
}
