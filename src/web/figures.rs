//! Numbers and times as people read them.

use chrono::{DateTime, Utc};

use domain::money::Cost;

const NANOS_PER_CENT: u64 = 10_000_000;

/// With a comma between thousands: `14,986,665,780`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// To the cent; below one cent to two digits that mean something, as `$0.00` would deny that it cost anything.
pub fn money(cost: Cost) -> String {
    let nanos = cost.nanodollars();
    if nanos == 0 || nanos >= NANOS_PER_CENT {
        let cents = (nanos / NANOS_PER_CENT).saturating_add(u64::from(nanos % NANOS_PER_CENT >= NANOS_PER_CENT / 2));
        return format!("${}.{:02}", grouped(cents / 100), cents % 100);
    }
    // Billionths are nine digits behind the point; all but the first two of those that are not zero are rounded away.
    let dropped = nanos.ilog10().saturating_sub(1);
    let unit = 10_u64.pow(dropped);
    let rounded = (nanos + unit / 2) / unit * unit;
    let fraction = format!("{rounded:09}");
    format!("$0.{}", fraction.trim_end_matches('0'))
}

/// A time for a `<time>` element: for programs, and in UTC for people whose browser runs no script.
#[derive(Default, Clone)]
pub struct Moment {
    /// RFC 3339; empty where there is no time.
    pub iso: String,
    pub text: String,
}

impl Moment {
    pub fn day(time: DateTime<Utc>) -> Self {
        Self::of(time, "%Y-%m-%d")
    }

    pub fn minute(time: DateTime<Utc>) -> Self {
        Self::of(time, "%Y-%m-%d %H:%M UTC")
    }

    /// Words where there is no time.
    pub fn never() -> Self {
        Self {
            iso: String::new(),
            text: "never".to_owned(),
        }
    }

    fn of(time: DateTime<Utc>, format: &str) -> Self {
        Self {
            iso: time.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
            text: time.format(format).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Moment, grouped, money};
    use domain::money::Cost;
    use proptest::prelude::*;

    #[test]
    fn figures_can_be_read() {
        for (number, shown) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (14_986_665_780, "14,986,665,780"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(grouped(number), shown);
        }
        for (nanos, shown) in [
            (0, "$0.00"),
            (1, "$0.000000001"),
            (569_000, "$0.00057"),
            (9_949_000, "$0.0099"),
            (9_999_999, "$0.01"),
            (10_000_000, "$0.01"),
            (14_999_999, "$0.01"),
            (15_000_000, "$0.02"),
            (1_500_000_000, "$1.50"),
            (148_149_886_814_760_000, "$148,149,886.81"),
        ] {
            assert_eq!(money(Cost::from_nanodollars(nanos)), shown, "{nanos}");
        }
    }

    #[test]
    fn a_time_is_told_in_utc_and_for_programs() {
        let time = "2026-03-09T08:07:06.5Z".parse().unwrap();
        assert_eq!(Moment::day(time).text, "2026-03-09");
        let minute = Moment::minute(time);
        assert_eq!(
            (&*minute.iso, &*minute.text),
            ("2026-03-09T08:07:06Z", "2026-03-09 08:07 UTC")
        );
    }

    proptest! {
        #[test]
        fn whatever_costs_something_looks_so(nanos in 1..u64::MAX) {
            let shown = money(Cost::from_nanodollars(nanos));
            prop_assert!(shown.chars().any(|c| ('1'..='9').contains(&c)), "{}", shown);
        }

        #[test]
        fn grouping_changes_no_digit(number: u64) {
            prop_assert_eq!(grouped(number).replace(',', ""), number.to_string());
        }
    }
}
