//! When the schema may change: "Mon-Thu 22:00 for 4h", in UTC.

use std::{fmt, str::FromStr, time::Duration};

use serde::Deserialize;

/// In the order of the week that [`Window::contains`] counts in.
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const DAY_SECONDS: u64 = 24 * 60 * 60;
const WEEK_SECONDS: u64 = 7 * DAY_SECONDS;

/// A time that comes again each week, on some days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Window {
    /// One bit a day, Monday's the lowest.
    days: u8,
    /// Seconds after midnight.
    start: u64,
    length: u64,
}

/// What is wrong with a window's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    #[error("a window is \"DAYS HH:MM for LENGTH\"")]
    Form,
    #[error("{0:?} is no day; days are Mon, Tue, Wed, Thu, Fri, Sat, Sun, or daily")]
    Day(String),
    #[error("{0:?} is no time of day from 00:00 to 23:59")]
    Time(String),
    #[error("{0:?} is no length from 1m to 24h")]
    Length(String),
}

impl Window {
    /// Whether a moment, in seconds since the epoch, is in it: from its start up to, and without, its end.
    pub fn contains(&self, epoch_seconds: i64) -> bool {
        // The epoch began on a Thursday.
        let since_monday = epoch_seconds.saturating_add(3 * DAY_SECONDS.cast_signed());
        let now = since_monday.rem_euclid(WEEK_SECONDS.cast_signed()).unsigned_abs();
        self.starts()
            .any(|start| (now + WEEK_SECONDS - start) % WEEK_SECONDS < self.length)
    }

    /// Seconds until it opens next; nothing while it is open.
    pub fn opens_in(&self, epoch_seconds: i64) -> u64 {
        if self.contains(epoch_seconds) {
            return 0;
        }
        let since_monday = epoch_seconds.saturating_add(3 * DAY_SECONDS.cast_signed());
        let now = since_monday.rem_euclid(WEEK_SECONDS.cast_signed()).unsigned_abs();
        self.starts()
            .map(|start| (start + WEEK_SECONDS - now) % WEEK_SECONDS)
            .min()
            .unwrap_or(WEEK_SECONDS)
    }

    /// In seconds after the beginning of Monday.
    fn starts(&self) -> impl Iterator<Item = u64> {
        let window = *self;
        (0..7_u64)
            .filter(move |day| window.days & (1 << day) != 0)
            .map(move |day| day * DAY_SECONDS + window.start)
    }
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [days, time, "for", length] = words[..] else {
            return Err(WindowError::Form);
        };
        Ok(Self {
            days: days_of(days)?,
            start: time_of(time).ok_or_else(|| WindowError::Time(time.to_owned()))?,
            length: length_of(length).ok_or_else(|| WindowError::Length(length.to_owned()))?,
        })
    }
}

impl TryFrom<String> for Window {
    type Error = WindowError;

    fn try_from(text: String) -> Result<Self, WindowError> {
        text.parse()
    }
}

/// `Mon`, `Mon+Wed`, `Fri-Mon` or `daily`. Commas part the windows themselves in a variable, so days are joined by `+`.
fn days_of(text: &str) -> Result<u8, WindowError> {
    if text.eq_ignore_ascii_case("daily") {
        return Ok(0b111_1111);
    }
    let mut days = 0;
    for part in text.split('+') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day_of(first)?, day_of(last)?);
        let mut day = first;
        loop {
            days |= 1 << day;
            if day == last {
                break;
            }
            day = (day + 1) % 7;
        }
    }
    Ok(days)
}

fn day_of(text: &str) -> Result<usize, WindowError> {
    let found = DAYS.iter().position(|day| day.eq_ignore_ascii_case(text));
    found.ok_or_else(|| WindowError::Day(text.to_owned()))
}

fn time_of(text: &str) -> Option<u64> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u64>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then_some((hours * 60 + minutes) * 60)
}

fn length_of(text: &str) -> Option<u64> {
    let length = humantime::parse_duration(text).ok()?;
    let allowed = Duration::from_mins(1)..=Duration::from_secs(DAY_SECONDS);
    (allowed.contains(&length) && length.subsec_nanos() == 0).then_some(length.as_secs())
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days: Vec<&str> = (0..7)
            .filter(|day| self.days & (1 << day) != 0)
            .map(|day| DAYS[day])
            .collect();
        let days = if days.len() == 7 {
            "daily".to_owned()
        } else {
            days.join("+")
        };
        let (hours, minutes) = (self.start / 3600, self.start / 60 % 60);
        let length = Duration::from_secs(self.length);
        let length = humantime::format_duration(length).to_string().replace(' ', "");
        write!(f, "{days} {hours:02}:{minutes:02} for {length}")
    }
}

#[cfg(test)]
mod tests {
    use super::{WEEK_SECONDS, Window, WindowError};
    use proptest::prelude::*;

    /// 1970-01-05, a Monday, at midnight.
    const MONDAY: i64 = 4 * 86_400;
    const HOUR: i64 = 3600;

    fn window(text: &str) -> Window {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_is_open_from_its_start_to_its_end() {
        let evening = window("Mon-Thu 22:00 for 4h");
        for (at, open) in [
            (MONDAY, false),
            (MONDAY + 22 * HOUR - 1, false),
            (MONDAY + 22 * HOUR, true),
            // Past midnight it is still Monday's.
            (MONDAY + 26 * HOUR - 1, true),
            (MONDAY + 26 * HOUR, false),
            // Friday has none, but Thursday's last hours.
            (MONDAY + 4 * 24 * HOUR + HOUR, true),
            (MONDAY + 4 * 24 * HOUR + 22 * HOUR, false),
        ] {
            assert_eq!(evening.contains(at), open, "{at}");
        }
        let sunday = window("Sun 23:30 for 1h");
        assert!(sunday.contains(MONDAY + 29 * 60) && !sunday.contains(MONDAY + 30 * 60));
        assert_eq!(evening.opens_in(MONDAY), 22 * 3600);
        assert_eq!(evening.opens_in(MONDAY + 23 * HOUR), 0);
        assert_eq!(window("Sat-Sun 00:00 for 24h").opens_in(MONDAY), 5 * 86_400);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, error) in [
            ("", WindowError::Form),
            ("Mon 22:00", WindowError::Form),
            ("Mon 22:00 for 4 h", WindowError::Form),
            ("Mo 22:00 for 4h", WindowError::Day("Mo".to_owned())),
            ("Mon+ 22:00 for 4h", WindowError::Day(String::new())),
            ("Mon 24:00 for 4h", WindowError::Time("24:00".to_owned())),
            ("Mon 2:00 for 4h", WindowError::Time("2:00".to_owned())),
            ("Mon 22:00 for 25h", WindowError::Length("25h".to_owned())),
            ("Mon 22:00 for 59s", WindowError::Length("59s".to_owned())),
            ("Mon 22:00 for 90", WindowError::Length("90".to_owned())),
        ] {
            assert_eq!(text.parse::<Window>(), Err(error), "{text}");
        }
    }

    fn any_window() -> impl Strategy<Value = Window> {
        (1_u8..128, 0_u64..1440, 1_u64..=1440).prop_map(|(days, start, length)| Window {
            days,
            start: start * 60,
            length: length * 60,
        })
    }

    proptest! {
        #[test]
        fn a_window_is_read_back_as_it_is_written(window in any_window()) {
            prop_assert_eq!(window.to_string().parse::<Window>(), Ok(window));
        }

        #[test]
        fn no_text_ends_the_process(text in "\\PC{0,40}") {
            let _ = text.parse::<Window>();
        }

        #[test]
        fn it_comes_again_each_week_and_opens_when_it_says(window in any_window(), at in -4_000_000_000_i64..8_000_000_000) {
            let week = WEEK_SECONDS.cast_signed();
            prop_assert_eq!(window.contains(at), window.contains(at + week));
            let opening = at + window.opens_in(at).cast_signed();
            prop_assert!(window.contains(opening));
            prop_assert!(window.opens_in(at) < WEEK_SECONDS);
            if opening > at {
                prop_assert!(!window.contains(opening - 1) || !window.contains(at));
            }
        }
    }
}
