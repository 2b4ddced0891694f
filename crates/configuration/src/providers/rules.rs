//! What holds between the keys of a provider, and what only development may have.

use super::{ProviderConfig, ProviderKind};
use crate::load::{check::Check, path::Path};

impl ProviderConfig {
    pub(crate) fn validate(&self, path: &Path, check: &mut Check) {
        if check.is_refused(path.key("kind")) {
            return;
        }
        if self.kind.is_for_development() && !check.environment().is_development() {
            let name = check.environment().as_str();
            let (allowed, others) = (ProviderKind::listed(false, "or"), ProviderKind::listed(true, "and"));
            check.refuse(
                path.key("kind"),
                format!("must be {allowed} in {name}; {others} are for development"),
            );
        }
        let mut needs = |key, is_there: bool, example: Option<&str>| {
            if let Some(example) = example.filter(|_| !is_there) {
                let kind = self.kind.as_str();
                check.refuse(
                    path.key(key),
                    format!("missing; a provider of kind \"{kind}\" must have one, such as \"{example}\""),
                );
            }
        };
        needs("state_file", self.state_file.is_some(), self.kind.example_state_file());
        needs("base_url", self.base_url.is_some(), self.kind.example_url());
        self.validate_discovery(path, check);
    }

    /// Calls to a model without a price are recorded at nothing, whatever the provider asks for them.
    fn validate_discovery(&self, path: &Path, check: &mut Check) {
        let prices = [&self.discovered_input_price, &self.discovered_output_price];
        let (any, all) = (
            prices.iter().any(|price| price.is_some()),
            prices.iter().all(|price| price.is_some()),
        );
        if any && self.discovered_free {
            check.refuse(
                path.key("discovered_free"),
                "must not be true beside discovered_input_price or discovered_output_price",
            );
        }
        if self.discover_models && !all && !self.discovered_free && !check.environment().is_development() {
            let name = check.environment().as_str();
            check.refuse(
                path.key("discover_models"),
                format!(
                    "must go with both discovered_input_price and discovered_output_price in {name}, or with \
                     discovered_free = true if they cost nothing; or name the models under [[models]] with their prices"
                ),
            );
        }
    }
}
