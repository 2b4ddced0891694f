//! Prices and costs, in integers: a float would make a bill that does not add up.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

const NANOS_PER_DOLLAR: u64 = 1_000_000_000;
const TOKENS_PER_PRICE: u128 = 1_000_000;

/// US dollars per million tokens, in billionths of a dollar. Providers quote in this unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Price(u64);

/// An amount in billionths of a US dollar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cost(u64);

/// A price that is not a plain decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be US dollars per million tokens as a decimal of at most 6 digits before and 9 after the point, such as \"2.50\""
)]
pub struct InvalidPrice;

impl FromStr for Price {
    type Err = InvalidPrice;

    fn from_str(text: &str) -> Result<Self, InvalidPrice> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str, max: usize| {
            !part.is_empty() && part.len() <= max && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(whole, 6) || !digits(fraction, 9) {
            return Err(InvalidPrice);
        }
        let whole: u64 = whole.parse().map_err(|_| InvalidPrice)?;
        let fraction: u64 = format!("{fraction:0<9}").parse().map_err(|_| InvalidPrice)?;
        Ok(Self(whole * NANOS_PER_DOLLAR + fraction))
    }
}

impl Price {
    /// The cost of `tokens`, rounded to the nearest billionth of a dollar, saturating.
    pub fn of(self, tokens: u64) -> Cost {
        let exact = u128::from(self.0) * u128::from(tokens);
        Cost(u64::try_from((exact + TOKENS_PER_PRICE / 2) / TOKENS_PER_PRICE).unwrap_or(u64::MAX))
    }
}

impl Cost {
    pub fn from_nanodollars(nanos: u64) -> Self {
        Self(nanos)
    }

    pub fn nanodollars(self) -> u64 {
        self.0
    }
}

impl std::ops::Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// At least two decimals, and no more than are needed.
fn decimal(nanos: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let fraction = format!("{:09}", nanos % NANOS_PER_DOLLAR);
    let kept = fraction.trim_end_matches('0').len().max(2);
    write!(f, "{}.{}", nanos / NANOS_PER_DOLLAR, &fraction[..kept])
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal(self.0, f)
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal(self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::{Cost, Price};
    use proptest::prelude::*;

    #[test]
    fn known_amounts() {
        let price: Price = "2.50".parse().unwrap();
        assert_eq!(price.of(1_000_000), Cost(2_500_000_000));
        assert_eq!(price.of(1), Cost(2_500));
        assert_eq!(price.to_string(), "2.50");
        assert_eq!(price.of(1_234).to_string(), "0.003085");
        assert_eq!("0.0375".parse::<Price>().unwrap().of(1).to_string(), "0.000000038");
        for bad in ["", ".", "1.", ".5", "-1", "1e3", "1,5", "1234567", "0.1234567891", "١"] {
            assert!(bad.parse::<Price>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn written_and_read_again(nanos in 0..999_999_000_000_000_u64) {
            let price = Price(nanos);
            prop_assert_eq!(price.to_string().parse::<Price>().unwrap(), price);
        }

        #[test]
        fn splitting_a_call_changes_the_bill_by_rounding_only(nanos in 0..1_000_000_000_000_u64, a in 0..10_000_000_u64, b in 0..10_000_000_u64) {
            let price = Price(nanos);
            let whole = price.of(a + b).nanodollars();
            let parts = (price.of(a) + price.of(b)).nanodollars();
            prop_assert!(whole.abs_diff(parts) <= 1);
        }
    }
}
