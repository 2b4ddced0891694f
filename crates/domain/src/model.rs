//! The catalogue: what callers may ask for.

use std::sync::Arc;

use super::money::{Cost, Price};
use super::tokens::TokenUsage;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModelKind {
    Chat,
    Embedding,
}

impl ModelKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embedding => "embedding",
        }
    }
}

/// One entry of the catalogue. Ids and provider names also serve as metric labels, so the catalogue's size bounds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// What callers ask for.
    pub id: Arc<str>,
    /// For people.
    pub name: Arc<str>,
    pub kind: ModelKind,
    pub provider: Arc<str>,
    /// What the provider calls it.
    pub upstream: Arc<str>,
    pub input_price: Price,
    /// For input tokens that the provider had from earlier calls.
    pub cached_input_price: Price,
    pub output_price: Price,
    pub caching: Caching,
}

/// Which answers of a model are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    All,
    /// To requests that ask for a repeatable answer, and embeddings.
    Deterministic,
    Off,
}

impl Model {
    pub fn cost(&self, usage: TokenUsage) -> Cost {
        let cached = usage.cached_input.min(usage.input);
        self.input_price.of(usage.input - cached)
            + self.cached_input_price.of(cached)
            + self.output_price.of(usage.output)
    }

    /// Calls cost nothing here, whatever they cost at the provider.
    pub fn is_unpriced(&self) -> bool {
        [self.input_price, self.cached_input_price, self.output_price]
            .iter()
            .all(|price| *price == Price::default())
    }
}

#[cfg(test)]
mod tests {
    use super::{Caching, Model, ModelKind};
    use crate::{money::Price, tokens::TokenUsage};
    use proptest::prelude::*;

    fn model(input: &str, cached: &str, output: &str) -> Model {
        let price = |text: &str| text.parse::<Price>().unwrap();
        Model {
            id: "m".into(),
            name: "m".into(),
            kind: ModelKind::Chat,
            provider: "p".into(),
            upstream: "m".into(),
            input_price: price(input),
            cached_input_price: price(cached),
            output_price: price(output),
            caching: Caching::Off,
        }
    }

    fn usage(input: u64, cached_input: u64, output: u64) -> TokenUsage {
        TokenUsage {
            input,
            output,
            cached_input,
            estimated: false,
        }
    }

    #[test]
    fn tokens_that_the_provider_had_cost_their_own_price() {
        let model = model("10.00", "1.00", "20.00");
        assert_eq!(model.cost(usage(10_000, 9_000, 10)).to_string(), "0.0192");
        assert_eq!(model.cost(usage(10_000, 0, 10)).to_string(), "0.1002");
    }

    proptest! {
        #[test]
        fn cached_tokens_never_cost_more_than_all_do_and_no_count_overflows(
            input in any::<u64>(), cached in any::<u64>(), output in any::<u64>(), cents in 0..10_000_u64, of in 0..=100_u64,
        ) {
            let price = |cents: u64| format!("{}.{:02}", cents / 100, cents % 100);
            let model = model(&price(cents), &price(cents * of / 100), "3.00");
            let (all, with) = (model.cost(usage(input, 0, output)), model.cost(usage(input, cached, output)));
            // Each of two amounts is rounded for itself.
            prop_assert!(with.nanodollars() <= all.nanodollars().saturating_add(1));
            prop_assert!(with >= model.cost(usage(0, 0, output)));
            prop_assert_eq!(model.cost(usage(input, u64::MAX, output)), model.cost(usage(input, input, output)));
        }

        #[test]
        fn without_a_price_of_their_own_cached_tokens_change_nothing_but_rounding(
            input in 0..1_000_000_000_u64, share in 0..=100_u64, output in 0..1_000_000_u64,
        ) {
            let model = model("2.50", "2.50", "10.00");
            let (all, with) = (model.cost(usage(input, 0, output)), model.cost(usage(input, input / 100 * share, output)));
            prop_assert!(all.nanodollars().abs_diff(with.nanodollars()) <= 1);
        }
    }
}
