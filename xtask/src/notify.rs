//! `make notify`: posts a text to the webhook in NOTIFY_WEBHOOK_URL (Slack, Mattermost, Teams and others take it).
//!
//! Ends with 1 and the reason when the post failed, so that nobody takes it for read. Without a webhook the message is only printed, and this
//! ends with 3: nobody was reached.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use serde_json::json;

use crate::{curl, error::TaskError, program::variable, say, shown::SHOWS_NOTHING};

/// As clap's for wrong arguments.
const WRONG_ARGUMENTS: u8 = 2;

pub(crate) fn run(message: &str) -> Result<ExitCode, TaskError> {
    if message.is_empty() {
        _ = writeln!(io::stderr(), "error: MESSAGE is empty");
        return Ok(ExitCode::from(WRONG_ARGUMENTS));
    }
    let Some(webhook) = variable("NOTIFY_WEBHOOK_URL") else {
        say(&format!(
            "notification to nobody (NOTIFY_WEBHOOK_URL is not set): {message}"
        ));
        return Ok(ExitCode::from(SHOWS_NOTHING));
    };
    if !is_address(&webhook) {
        return TaskError::refused("notification failed: NOTIFY_WEBHOOK_URL is not an http or https address");
    }
    // The webhook's address is a secret itself. Sent once: a second post after a lost answer would notify people twice.
    let text = json!({"text": printable(message)}).to_string();
    let arguments = [
        ["--max-time", "15", "--request", "POST"],
        ["--header", "Content-Type: application/json", "--data-raw", &text],
        ["--output", "/dev/null", "--write-out", "%{http_code}"],
    ];
    match curl::ask(
        &arguments.concat(),
        "NOTIFY_WEBHOOK_URL",
        &format!("url = \"{webhook}\"\n"),
    )? {
        None => TaskError::refused("notification failed: the webhook did not answer"),
        Some(status) if status.starts_with('2') => {
            say("notification sent");
            Ok(ExitCode::SUCCESS)
        }
        Some(status) => TaskError::refused(format!("notification failed: the webhook answered {status}")),
    }
}

/// It goes to curl as a line of configuration, where a quote would end it.
fn is_address(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(|c: char| c.is_whitespace() || c == '"' || c == '\\'))
}

/// Line breaks and tabs are kept; other control characters have no place in a message.
fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{is_address, printable};

    #[test]
    fn an_address_ends_no_line_of_configuration() {
        assert!(is_address("https://hooks.example/T/B?x=1") && is_address("http://127.0.0.1:9/hook"));
        for text in [
            "",
            "https://",
            "not an address",
            "ftp://a",
            "http://a/\"\noutput = \"/tmp/x",
            "http://a\\",
            "http://a b",
        ] {
            assert!(!is_address(text), "{text}");
        }
    }

    #[test]
    fn breaks_and_tabs_stay_and_escapes_go() {
        assert_eq!(printable("a\n\tb\u{1b}[31m\r\"\\"), "a\n\tb[31m\"\\");
    }
}
