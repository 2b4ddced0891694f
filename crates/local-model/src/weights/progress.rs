//! What a person sees of a transfer: a bar where a terminal can show one, else a line for every tenth.
//!
//! The bar goes back by a carriage return and covers itself with spaces: no escape sequence, so nothing to leave behind.

use std::{
    fmt::Write as _,
    io::Write,
    time::{Duration, Instant},
};

mod style;

pub use style::Style;

const REDRAW: Duration = Duration::from_millis(200);

/// Takes what happens.
pub trait Progress {
    /// A sentence.
    fn note(&mut self, text: &str);
    /// Bytes that are there, and bytes that there will be.
    fn bytes(&mut self, done: u64, total: u64);
    /// The transfer is over; what follows is not on its line.
    fn end(&mut self) {}
}

/// Writes progress to a stream.
#[derive(Debug)]
pub struct Shown<W> {
    out: W,
    style: Style,
    /// Time and bytes at the first report: the speed is that of this run, not of one before it.
    began: Option<(Instant, u64)>,
    drawn: Option<Instant>,
    /// Columns that the line has now.
    on_line: usize,
    tenth: Option<u64>,
}

impl<W: Write> Shown<W> {
    pub fn new(out: W, style: Style) -> Self {
        Self {
            out,
            style,
            began: None,
            drawn: None,
            on_line: 0,
            tenth: None,
        }
    }

    fn line(&mut self, text: &str) {
        self.clear();
        let _ = writeln!(self.out, "{text}");
    }

    fn clear(&mut self) {
        if self.on_line > 0 {
            let _ = write!(self.out, "\r{}\r", " ".repeat(self.on_line));
            self.on_line = 0;
        }
    }

    fn draw(&mut self, done: u64, total: u64, left: Option<Duration>, columns: usize, unicode: bool) {
        let percent = percent(done, total);
        let mut facts = format!(" {percent:>3} %  {} of {} MB", done / 1_000_000, total / 1_000_000);
        let rest = left.map(|left| format!("{}:{:02} left", left.as_secs() / 60, left.as_secs() % 60));
        // Of one width, so that the bar keeps its own.
        let _ = write!(facts, "  {:<10}", rest.unwrap_or_default());
        // One column stays free: a full line moves some terminals to the next.
        let room = columns.saturating_sub(1);
        let bar = room.saturating_sub(facts.len()).min(40);
        let full = bar * usize::try_from(percent).unwrap_or(100) / 100;
        let (on, off) = if unicode { ("█", "░") } else { ("#", "-") };
        let facts: String = facts.chars().take(room).collect();
        let width = bar + facts.len();
        let padding = " ".repeat(self.on_line.saturating_sub(width));
        let _ = write!(
            self.out,
            "\r{}{}{facts}{padding}",
            on.repeat(full),
            off.repeat(bar - full)
        );
        let _ = self.out.flush();
        self.on_line = width;
    }
}

impl<W: Write> Progress for Shown<W> {
    fn note(&mut self, text: &str) {
        self.line(text);
    }

    fn bytes(&mut self, done: u64, total: u64) {
        let now = Instant::now();
        let (began, first) = *self.began.get_or_insert((now, done));
        match self.style {
            Style::Lines => {
                let tenth = percent(done, total) / 10;
                if self.tenth.is_none_or(|shown| tenth > shown) {
                    self.tenth = Some(tenth);
                    self.line(&format!(
                        "Fetching the model: {} % of {} MB",
                        tenth * 10,
                        total / 1_000_000
                    ));
                }
            }
            Style::Bar { columns, unicode } => {
                if self.drawn.is_some_and(|at| now.duration_since(at) < REDRAW) && done < total {
                    return;
                }
                self.drawn = Some(now);
                self.draw(
                    done,
                    total,
                    left(
                        now.duration_since(began),
                        done.saturating_sub(first),
                        total.saturating_sub(done),
                    ),
                    columns,
                    unicode,
                );
            }
        }
    }

    fn end(&mut self) {
        if self.on_line > 0 {
            let _ = writeln!(self.out);
            self.on_line = 0;
        }
    }
}

/// Whole percent, rounded down.
pub fn percent(done: u64, total: u64) -> u64 {
    (u128::from(done) * 100)
        .checked_div(u128::from(total))
        .map_or(0, |percent| u64::try_from(percent).unwrap_or(100).min(100))
}

/// Time for the rest at the speed so far; unknown in the first second.
fn left(passed: Duration, came: u64, rest: u64) -> Option<Duration> {
    if passed < Duration::from_secs(1) || came == 0 {
        return None;
    }
    let seconds = u128::from(rest) * passed.as_millis() / u128::from(came) / 1000;
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(style: Style, reports: &[u64]) -> String {
        let mut out = Vec::new();
        let mut shown = Shown::new(&mut out, style);
        for done in reports {
            shown.drawn = None;
            shown.bytes(*done, 100_000_000);
        }
        shown.end();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_no_terminal_gets_at_most_one_line_for_every_tenth_and_no_carriage_return() {
        let reports: Vec<u64> = (0..=1000).map(|step| step * 100_000).collect();
        let text = shown(Style::Lines, &reports);
        assert_eq!(text.lines().count(), 11, "{text}");
        assert!(!text.contains(['\r', '\x1b']), "{text}");
    }

    #[test]
    fn a_bar_fits_its_terminal_and_never_writes_an_escape() {
        for columns in [2, 10, 20, 40, 200] {
            let text = shown(Style::Bar { columns, unicode: true }, &[0, 33_000_000, 100_000_000]);
            assert!(!text.contains('\x1b'), "{text}");
            assert!(
                shown(
                    Style::Bar {
                        columns,
                        unicode: false
                    },
                    &[0, 33_000_000]
                )
                .is_ascii()
            );
            assert!(text.ends_with('\n'), "the next line begins on its own");
            for line in text.split(['\r', '\n']) {
                assert!(line.chars().count() < columns, "{columns}: {line:?}");
            }
        }
    }

    #[test]
    fn the_time_left_is_reckoned_from_the_speed_of_this_run() {
        assert_eq!(left(Duration::from_secs(10), 50, 100), Some(Duration::from_secs(20)));
        assert_eq!(left(Duration::from_millis(500), 50, 100), None);
    }
}
