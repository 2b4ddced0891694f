//! Whether a server answers: by the key that only it has.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc::SyncSender,
    thread,
    time::{Duration, Instant},
};

use reqwest::blocking::Client;

use super::{
    events::{Event, Start},
    state::State,
};

const PAUSE: Duration = Duration::from_millis(100);
const ANSWER: Duration = Duration::from_secs(5);

/// Arguments of `healthcheck`.
#[derive(Debug, clap::Args)]
pub struct HealthArgs {
    /// The state file of `local-model run`
    #[arg(long, value_name = "PATH")]
    pub state: PathBuf,
}

/// Why the model is not healthy.
#[derive(Debug, thiserror::Error)]
enum Unhealthy {
    #[error("{path} cannot be read: {source}", path = path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is no state file: {source}", path = path.display())]
    Malformed {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("the model is not ready: {0}")]
    NotReady(String),
    #[error("{url} does not answer: {source}")]
    Silent {
        url: String,
        #[source]
        source: reqwest::Error,
    },
}

/// Status 0 when the state file says ready and the server that it names answers with 200; else 1, with the reason.
#[allow(clippy::print_stderr)]
pub fn healthcheck(args: &HealthArgs) -> ExitCode {
    match check(&args.state) {
        Ok(()) => ExitCode::SUCCESS,
        Err(unhealthy) => {
            eprintln!("{unhealthy}.");
            ExitCode::FAILURE
        }
    }
}

fn check(path: &Path) -> Result<(), Unhealthy> {
    let text = fs::read(path).map_err(|source| Unhealthy::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let state = serde_json::from_slice(&text).map_err(|source| Unhealthy::Malformed {
        path: path.to_owned(),
        source,
    })?;
    let State::Ready { url, key, .. } = state else {
        return Err(Unhealthy::NotReady(match state {
            State::Downloading { percent } => format!("it is being downloaded ({percent} %)"),
            State::Restarting { reason } | State::Failed { reason } => reason,
            _ => "it is being loaded".to_owned(),
        }));
    };
    let url = url.trim_end_matches("/v1").to_owned();
    client()
        .and_then(|client| ask(&client, &url, &key))
        .map_err(|source| Unhealthy::Silent {
            url,
            source: source.without_url(),
        })
}

/// Asks until it answers 200, at most until `deadline`.
pub(super) fn watch(start: Start, port: u16, key: String, deadline: Instant, events: SyncSender<Event>) {
    thread::spawn(move || {
        let Ok(client) = client() else {
            return;
        };
        let base = format!("http://127.0.0.1:{port}");
        while Instant::now() < deadline {
            if ask(&client, &base, &key).is_ok() {
                let _ = events.send(Event::Healthy(start));
                return;
            }
            thread::sleep(PAUSE);
        }
    });
}

/// For this machine: never through a proxy.
fn client() -> reqwest::Result<Client> {
    Client::builder().no_proxy().timeout(ANSWER).build()
}

/// `base` is the server's address without a path.
fn ask(client: &Client, base: &str, key: &str) -> reqwest::Result<()> {
    let answer = client.get(format!("{base}/health")).bearer_auth(key).send()?;
    answer.error_for_status().map(drop)
}
