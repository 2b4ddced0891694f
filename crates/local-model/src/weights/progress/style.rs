//! How the reader of the output wants to see progress.

use std::{
    env,
    io::{self, IsTerminal},
};

/// A bar that is drawn over, or lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A bar of so many columns; `unicode`: with block characters.
    Bar {
        columns: usize,
        unicode: bool,
    },
    Lines,
}

impl Style {
    /// For standard error, by what it is and by the environment.
    pub fn of_stderr() -> Self {
        let terminal = io::stderr().is_terminal();
        let columns =
            rustix::termios::tcgetwinsize(rustix::stdio::stderr()).map_or(80, |size| usize::from(size.ws_col));
        Self::of(terminal, columns, |name| {
            env::var(name).ok().filter(|value| !value.is_empty())
        })
    }

    fn of(terminal: bool, columns: usize, variable: impl Fn(&str) -> Option<String>) -> Self {
        if !terminal || variable("TERM").is_none_or(|term| term == "dumb") {
            return Self::Lines;
        }
        // The first of these that is set decides (POSIX, "Internationalization Variables").
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .iter()
            .find_map(|name| variable(name))
            .unwrap_or_default()
            .to_lowercase();
        let unicode = locale.contains("utf-8") || locale.contains("utf8");
        Self::Bar {
            columns: if columns == 0 { 80 } else { columns },
            unicode,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn style(terminal: bool, variables: &[(&str, &str)]) -> Style {
        Style::of(terminal, 40, |name| {
            variables
                .iter()
                .find(|(listed, _)| *listed == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_locale_without_unicode_gets_ascii_and_a_dumb_terminal_lines() {
        assert_eq!(
            style(true, &[("TERM", "xterm"), ("LANG", "C")]),
            Style::Bar {
                columns: 40,
                unicode: false
            }
        );
        assert_eq!(
            style(true, &[("TERM", "xterm"), ("LANG", "C"), ("LC_ALL", "en_GB.UTF-8")]),
            Style::Bar {
                columns: 40,
                unicode: true
            }
        );
        assert_eq!(style(true, &[("TERM", "dumb"), ("LANG", "C.UTF-8")]), Style::Lines);
        assert_eq!(style(false, &[("TERM", "xterm"), ("LANG", "C.UTF-8")]), Style::Lines);
    }
}
