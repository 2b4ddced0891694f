//! `[[mock:...]]` in a message: how a test, or a person trying things out, makes the model misbehave.
//!
//! `status=500`, `stall`, `stall_after=5`, `break_after=5` (counted in events), `tokens=200`, `delay=50ms`.

use std::time::Duration;

use http::StatusCode;

/// Longest pause and answer that can be asked for.
const MAX_DELAY: Duration = Duration::from_secs(10);
const MAX_TOKENS: usize = 20_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Directives {
    pub(super) status: Option<StatusCode>,
    pub(super) stall: bool,
    pub(super) stall_after: Option<usize>,
    pub(super) break_after: Option<usize>,
    pub(super) tokens: Option<usize>,
    pub(super) delay: Option<Duration>,
}

impl Directives {
    /// What does not read as a directive is part of the question. Only the last paragraph directs: a question that was left
    /// without an answer, perhaps because it directed so, is sent again before the next one, with a blank line between.
    pub(super) fn of(question: &str) -> Self {
        let mut directives = Self::default();
        let last = question.trim_end().rsplit("\n\n").next().unwrap_or_default();
        for part in last.split("[[mock:").skip(1) {
            let Some((directive, _)) = part.split_once("]]") else {
                continue;
            };
            match directive.split_once('=').unwrap_or((directive, "")) {
                ("stall", "") => directives.stall = true,
                ("status", value) => {
                    directives.status = value.parse().ok().filter(|code: &StatusCode| code.as_u16() >= 400);
                }
                ("stall_after", value) => directives.stall_after = value.parse().ok(),
                ("break_after", value) => directives.break_after = value.parse().ok(),
                ("tokens", value) => {
                    directives.tokens = value.parse().ok().map(|tokens: usize| tokens.min(MAX_TOKENS));
                }
                ("delay", value) => {
                    directives.delay = humantime::parse_duration(value).ok().map(|delay| delay.min(MAX_DELAY));
                }
                _ => {}
            }
        }
        directives
    }
}

#[cfg(test)]
mod tests {
    use super::Directives;
    use std::time::Duration;

    #[test]
    fn reads_directives_and_leaves_the_rest() {
        let read = Directives::of(
            "Hi [[mock:status=429]] and [[mock:delay=50ms]][[mock:break_after=3]] [[mock:nonsense]] [[mock:",
        );
        assert_eq!(read.status.map(|status| status.as_u16()), Some(429));
        assert_eq!(
            (read.delay, read.break_after),
            (Some(Duration::from_millis(50)), Some(3))
        );
        assert_eq!(
            Directives::of("[[mock:status=200]] [[mock:tokens=x]] mock:stall"),
            Directives::default()
        );
    }

    #[test]
    fn an_earlier_paragraph_directs_nothing() {
        let read = Directives::of("Fail [[mock:status=500]]\n\nNow well, [[mock:tokens=20]]\n");
        assert_eq!((read.status, read.tokens), (None, Some(20)));
    }
}
