//! Reads the state file of a local model.
//!
//! The program that runs the model replaces the whole file at every change. The file is untrusted input: lengths are bounded,
//! and only loopback addresses are accepted.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

use secrecy::SecretString;
use serde::Deserialize;
use url::{Host, Url};

/// Largest state file, in bytes; a usual one has 200.
pub(super) const LARGEST: u64 = 16 * 1024;
/// Longest reason shown to users, in characters.
const MAX_REASON_LENGTH: usize = 500;
/// Longest key and model name, in bytes.
const MAX_NAME_LENGTH: usize = 256;

/// The contents of the file.
#[derive(Debug, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(super) enum ReportedState {
    Building,
    Downloading {
        #[serde(default)]
        percent: u8,
    },
    Loading,
    Ready {
        url: Url,
        key: SecretString,
        model: String,
    },
    Restarting {
        #[serde(default)]
        reason: String,
    },
    Failed {
        #[serde(default)]
        reason: String,
    },
}

/// Identifies one version of the file: device, inode, modification time in nanoseconds and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileVersion(u64, u64, i128, u64);

/// The result of reading the file.
#[derive(Debug)]
pub(super) enum ReadResult {
    /// The same file as before.
    Unchanged,
    Changed(FileVersion, Result<ReportedState, Unusable>),
    Missing,
    /// It cannot be read, for this reason.
    Unreadable(std::io::Error),
}

/// Why a state file is rejected. Never quotes its contents, which hold a key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Unusable {
    #[error("it is larger than {LARGEST} bytes")]
    TooLarge,
    #[error("it does not hold a state in JSON")]
    NotAState,
    #[error("its url is not http on a loopback address of this machine")]
    Foreign,
    #[error("its key or model has characters that a request cannot carry, or is longer than {MAX_NAME_LENGTH} bytes")]
    NotSendable,
}

/// Reads the file unless it is still `before`. Blocks on the file system.
pub(super) fn read_state(path: &Path, before: Option<FileVersion>) -> ReadResult {
    match read(path, before) {
        Ok(result) => result,
        Err(error) if error.kind() == ErrorKind::NotFound => ReadResult::Missing,
        Err(error) => ReadResult::Unreadable(error),
    }
}

fn read(path: &Path, before: Option<FileVersion>) -> std::io::Result<ReadResult> {
    // Opening a pipe would block until another process opens it for writing.
    if !std::fs::metadata(path)?.is_file() {
        return Err(ErrorKind::InvalidInput.into());
    }
    let file = File::open(path)?;
    let about = file.metadata()?;
    let time = i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec());
    let version = FileVersion(about.dev(), about.ino(), time, about.len());
    if before == Some(version) {
        return Ok(ReadResult::Unchanged);
    }
    let mut content = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut content)?;
    Ok(ReadResult::Changed(version, parse(&content)))
}

pub(super) fn parse(content: &[u8]) -> Result<ReportedState, Unusable> {
    if content.len() as u64 > LARGEST {
        return Err(Unusable::TooLarge);
    }
    let mut state = serde_json::from_slice(content).map_err(|_| Unusable::NotAState)?;
    match &mut state {
        ReportedState::Downloading { percent } if *percent > 100 => return Err(Unusable::NotAState),
        ReportedState::Ready { url, key, model } => {
            if !is_loopback(url) {
                return Err(Unusable::Foreign);
            }
            if ![secrecy::ExposeSecret::expose_secret(key), model.as_str()]
                .into_iter()
                .all(is_sendable)
            {
                return Err(Unusable::NotSendable);
            }
        }
        ReportedState::Restarting { reason } | ReportedState::Failed { reason } => *reason = shortened(reason),
        _ => {}
    }
    Ok(state)
}

/// Only literal addresses count: a host name could resolve to any machine.
fn is_loopback(url: &Url) -> bool {
    let is_own = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        _ => false,
    };
    let is_bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    url.scheme() == "http" && is_own && is_bare && url.fragment().is_none()
}

fn is_sendable(text: &str) -> bool {
    (1..=MAX_NAME_LENGTH).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// One line without its full stop, for the middle of a sentence.
fn shortened(reason: &str) -> String {
    let words = reason.split(|c: char| c.is_whitespace() || c.is_control());
    let line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let short: String = line.chars().take(MAX_REASON_LENGTH).collect();
    short.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::{LARGEST, ReadResult, ReportedState, Unusable, parse, read_state};

    fn ready(url: &str, key: &str) -> Result<ReportedState, Unusable> {
        let state = serde_json::json!({"state": "ready", "url": url, "key": key, "model": "smollm2-135m"});
        parse(state.to_string().as_bytes())
    }

    #[test]
    fn an_address_counts_only_on_this_machine() {
        for own in [
            "http://127.0.0.1:41234/v1",
            "http://127.9.8.7/v1",
            "http://[::1]:8080/v1",
        ] {
            assert!(ready(own, "secret").is_ok(), "{own}");
        }
        for foreign in [
            "https://127.0.0.1:41234/v1",
            "http://localhost:41234/v1",
            "http://127.0.0.1.example:80/v1",
            "http://192.168.0.1:41234/v1",
            "http://0.0.0.0:41234/v1",
            "http://[::ffff:10.0.0.1]/v1",
            "http://user:word@127.0.0.1/v1",
            "http://127.0.0.1/v1?to=elsewhere",
            "file:///etc/passwd",
        ] {
            assert_eq!(ready(foreign, "secret").unwrap_err(), Unusable::Foreign, "{foreign}");
        }
        for key in ["", "two words", "line\nend", &"k".repeat(257)] {
            assert_eq!(ready("http://127.0.0.1:1/v1", key).unwrap_err(), Unusable::NotSendable);
        }
    }

    #[test]
    fn what_is_no_state_is_refused_without_being_quoted() {
        for content in [
            "",
            "ready",
            "[]",
            "{}",
            r#"{"state":"asleep"}"#,
            r#"{"state":"ready","url":"http://127.0.0.1:1/v1","model":"m"}"#,
            r#"{"state":"downloading","percent":101}"#,
            r#"{"state":"downloading","percent":-1}"#,
            "\u{feff}{\"state\":\"loading\"}",
        ] {
            assert_eq!(parse(content.as_bytes()).unwrap_err(), Unusable::NotAState, "{content}");
        }
        let huge = format!("{:>1$}", "{}", usize::try_from(LARGEST).unwrap() + 1);
        assert_eq!(parse(huge.as_bytes()).unwrap_err(), Unusable::TooLarge);
    }

    #[test]
    fn a_reason_becomes_one_short_line() {
        let state = serde_json::json!({"state": "failed", "reason": format!("No\u{1b}\n\n  room{}.", "!".repeat(900))});
        let Ok(ReportedState::Failed { reason }) = parse(state.to_string().as_bytes()) else {
            panic!("{state}")
        };
        assert!(reason.starts_with("No room!!!") && reason.len() == 500, "{reason}");
    }

    #[test]
    fn a_file_is_read_again_when_it_was_replaced_and_a_folder_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let (path, beside) = (folder.path().join("state.json"), folder.path().join("beside"));
        assert!(matches!(read_state(&path, None), ReadResult::Missing));
        assert!(matches!(read_state(folder.path(), None), ReadResult::Unreadable(_)));
        std::fs::write(&path, r#"{"state":"loading"}"#).unwrap();
        let ReadResult::Changed(first, Ok(ReportedState::Loading)) = read_state(&path, None) else {
            panic!("not read")
        };
        assert!(matches!(read_state(&path, Some(first)), ReadResult::Unchanged));
        std::fs::write(&beside, r#"{"state":"failed"}"#).unwrap();
        std::fs::rename(&beside, &path).unwrap();
        let second = read_state(&path, Some(first));
        assert!(
            matches!(second, ReadResult::Changed(_, Ok(ReportedState::Failed { .. }))),
            "{second:?}"
        );
    }
}
