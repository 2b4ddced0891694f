//! Decides: fetch, start, wait, start again, give up.

use std::{
    io::{self, Write},
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{ExitCode, ExitStatus},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender},
    thread,
    time::{Duration, Instant},
};

use signal_hook::consts::{SIGKILL, SIGTERM};

use super::{
    child::Server,
    deaths::Deaths,
    events::{Event, Start},
    health,
    reported_progress::ReportedProgress,
    state::{State, StateFile},
    times::Times,
};
use crate::{
    serve::{Listening, UNFIT},
    weights::{
        self, Progress as _, Settings,
        progress::{Shown, Style, percent},
    },
};

const LOOK: Duration = Duration::from_millis(100);

/// What is waited for.
enum Phase {
    Fetching,
    /// A failed attempt is made again then.
    FetchAt(Instant),
    Loading {
        server: Server,
        deadline: Instant,
        about: Option<Listening>,
    },
    Serving {
        server: Server,
    },
    StartAt(Instant),
}

/// Keeps one model served.
pub(super) struct Keeper {
    program: PathBuf,
    settings: Settings,
    state: StateFile,
    times: Times,
    events: SyncSender<Event>,
    received: Receiver<Event>,
    shown: Shown<io::Stderr>,
    deaths: Deaths,
    model: PathBuf,
    start: Start,
}

impl Keeper {
    pub(super) fn new(
        program: PathBuf,
        settings: Settings,
        state: StateFile,
        times: Times,
        events: SyncSender<Event>,
        received: Receiver<Event>,
    ) -> Self {
        Self {
            program,
            settings,
            state,
            times,
            events,
            received,
            // The terminal is shared with MapleAI's log, which a bar would be torn by.
            shown: Shown::new(io::stderr(), Style::Lines),
            deaths: Deaths::new(times.back_off),
            model: PathBuf::new(),
            start: 0,
        }
    }

    pub(super) fn run(mut self) -> ExitCode {
        let mut phase = self.fetch();
        loop {
            let stepped = match self.received.recv_timeout(LOOK) {
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    if let Phase::Loading { mut server, .. } | Phase::Serving { mut server } = phase {
                        server.stop();
                    }
                    self.state.remove();
                    return ExitCode::SUCCESS;
                }
                Ok(event) => self.take(event, phase),
                Err(RecvTimeoutError::Timeout) => Ok(phase),
            };
            match stepped.and_then(|phase| self.look(phase)) {
                Ok(next) => phase = next,
                Err(reason) => {
                    self.say(&format!("The model is given up: {reason}."));
                    self.set(State::Failed { reason });
                    return ExitCode::FAILURE;
                }
            }
        }
    }

    /// The file may be there already, so that nothing is said of a download before there is one.
    fn fetch(&mut self) -> Phase {
        let (settings, events) = (self.settings.clone(), self.events.clone());
        thread::spawn(move || {
            let fetched = weights::obtain(&settings, &mut ReportedProgress::new(events.clone()));
            let _ = events.send(Event::Fetched(fetched));
        });
        Phase::Fetching
    }

    /// What an event changes. An error is the reason for giving up.
    fn take(&mut self, event: Event, phase: Phase) -> Result<Phase, String> {
        match (event, phase) {
            (Event::Note(text), phase) => {
                self.say(&format!("{text}."));
                Ok(phase)
            }
            (Event::Fetching { done, total }, phase) => {
                self.shown.bytes(done, total);
                self.set(State::Downloading {
                    percent: percent(done, total),
                });
                Ok(phase)
            }
            (Event::Fetched(Ok(path)), Phase::Fetching) => {
                self.model = path;
                self.serve()
            }
            (Event::Fetched(Err(error)), Phase::Fetching) if error.may_pass() => {
                let minutes = self.times.attempts.as_secs().div_ceil(60);
                let reason = format!("{error}; the next attempt is in {minutes} min");
                self.say(&format!(
                    "The model {} is not here: {reason}.",
                    self.settings.model.name
                ));
                self.set(State::Failed { reason });
                Ok(Phase::FetchAt(Instant::now() + self.times.attempts))
            }
            (Event::Fetched(Err(error)), Phase::Fetching) => Err(error.to_string()),
            (Event::Listening(start, about), Phase::Loading { server, deadline, .. }) if start == self.start => {
                health::watch(start, about.port, server.key.clone(), deadline, self.events.clone());
                Ok(Phase::Loading {
                    server,
                    deadline,
                    about: Some(about),
                })
            }
            (
                Event::Healthy(start),
                Phase::Loading {
                    server,
                    about: Some(about),
                    ..
                },
            ) if start == self.start => {
                self.say(&format!(
                    "The model {} answers now (threads: {}, window: {} tokens).",
                    about.name, about.threads, about.context
                ));
                let url = format!("http://127.0.0.1:{}/v1", about.port);
                self.set(State::Ready {
                    url,
                    key: server.key.clone(),
                    model: about.model,
                });
                Ok(Phase::Serving { server })
            }
            (_, phase) => Ok(phase),
        }
    }

    /// What time and the server's end change.
    fn look(&mut self, phase: Phase) -> Result<Phase, String> {
        match phase {
            Phase::FetchAt(at) if Instant::now() >= at => Ok(self.fetch()),
            Phase::StartAt(at) if Instant::now() >= at => self.serve(),
            Phase::Loading {
                mut server,
                deadline,
                about,
            } => match server.ended() {
                Some((status, last)) => self.died(status, &last),
                None if Instant::now() >= deadline => {
                    server.stop();
                    self.again(format!("it did not answer within {} s", self.times.loading.as_secs()))
                }
                None => Ok(Phase::Loading {
                    server,
                    deadline,
                    about,
                }),
            },
            Phase::Serving { mut server } => match server.ended() {
                Some((status, last)) => self.died(status, &last),
                None => Ok(Phase::Serving { server }),
            },
            phase => Ok(phase),
        }
    }

    fn serve(&mut self) -> Result<Phase, String> {
        self.start += 1;
        self.set(State::Loading);
        let key = hex::encode(rand::random::<[u8; 32]>());
        let server = Server::start(&self.program, &self.model, key, self.start, &self.events)
            .map_err(|error| format!("{} cannot be started: {error}", self.program.display()))?;
        Ok(Phase::Loading {
            server,
            deadline: Instant::now() + self.times.loading,
            about: None,
        })
    }

    fn died(&mut self, status: ExitStatus, last: &str) -> Result<Phase, String> {
        if status.code() == Some(i32::from(UNFIT)) {
            let last = last.trim_start_matches("error: ");
            let said = if last.is_empty() {
                "the file or the machine is not fit for it"
            } else {
                last
            };
            return Err(said.trim_end_matches('.').to_owned());
        }
        // Who was killed from outside had no time to say why, and said something else before.
        let was_killed = matches!(status.signal(), Some(SIGKILL | SIGTERM));
        let said = if last.is_empty() || was_killed {
            String::new()
        } else {
            format!(": {last}")
        };
        self.again(format!("its process ended with {status}{said}"))
    }

    fn again(&mut self, reason: String) -> Result<Phase, String> {
        let Some(wait) = self.deaths.add(Instant::now()) else {
            return Err(format!(
                "it failed three times within a minute, the last time because {reason}; stop and start MapleAI to try again"
            ));
        };
        self.say(&format!("The model is started again: {reason}."));
        self.set(State::Restarting { reason });
        Ok(Phase::StartAt(Instant::now() + wait))
    }

    fn say(&mut self, text: &str) {
        self.shown.note(text);
    }

    /// Without the file MapleAI does not know of the model, which the person should hear.
    fn set(&mut self, state: State) {
        if let Err(error) = self.state.set(state) {
            let _ = writeln!(io::stderr(), "The model's state cannot be written: {error}.");
        }
    }
}
