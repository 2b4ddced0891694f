//! Kinds of providers, and what is asked of each.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// Any server that speaks the OpenAI API.
    Openai,
    /// Deterministic answers without a network; refused outside development.
    Mock,
    /// A model that a process beside this one runs, told of by a file; refused outside development.
    Local,
}

impl ProviderKind {
    pub(super) const ALL: [Self; 3] = [Self::Openai, Self::Mock, Self::Local];

    /// As `kind` has them.
    pub(super) const NAMES: [&'static str; Self::ALL.len()] = {
        let mut names = [""; Self::ALL.len()];
        let mut at = 0;
        while at < names.len() {
            names[at] = Self::ALL[at].as_str();
            at += 1;
        }
        names
    };

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Mock => "mock",
            Self::Local => "local",
        }
    }

    pub(super) fn is_for_development(self) -> bool {
        match self {
            Self::Openai => false,
            Self::Mock | Self::Local => true,
        }
    }

    /// Of a kind that needs a `base_url`, an example.
    pub(super) fn example_url(self) -> Option<&'static str> {
        match self {
            Self::Openai => Some("https://api.openai.com/v1"),
            Self::Mock | Self::Local => None,
        }
    }

    /// Of a kind that needs a `state_file`, an example.
    pub(super) fn example_state_file(self) -> Option<&'static str> {
        match self {
            Self::Openai | Self::Mock => None,
            Self::Local => Some(".local/model-state.json"),
        }
    }

    /// Those that are, or are not, for development, in a sentence.
    pub(super) fn listed(for_development: bool, word: &str) -> String {
        let all = Self::ALL
            .iter()
            .filter(|kind| kind.is_for_development() == for_development);
        let quoted: Vec<_> = all.map(|kind| format!("\"{}\"", kind.as_str())).collect();
        quoted.join(&format!(" {word} "))
    }
}

#[cfg(test)]
mod tests {
    use super::ProviderKind;

    #[test]
    fn names_are_what_is_read() {
        for kind in ProviderKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
