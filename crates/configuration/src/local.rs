//! `[local]`: model servers that run on this machine, and what they are used for beside answers. For development.

use std::{fmt, str::FromStr, time::Duration};

use serde::Deserialize;

use super::load::{
    check::Check,
    schema::{Field, Kind, MILLISECOND, MINUTE, Rule, optional, required},
};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalConfig {
    /// Products that are looked for on loopback at start; none by default. Refused outside development.
    #[serde(default)]
    pub servers: Vec<LocalServer>,
    /// How long all looks together may hold up the start.
    #[serde(with = "humantime_serde")]
    pub look_timeout: Duration,
    /// Whether a free model on this machine gives conversations their titles.
    pub titles: bool,
}

/// A product that serves models on a developer's machine and speaks the OpenAI API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LocalProduct {
    Ollama,
    LmStudio,
    LlamaCpp,
    Vllm,
}

impl LocalProduct {
    pub const ALL: [Self; 4] = [Self::Ollama, Self::LmStudio, Self::LlamaCpp, Self::Vllm];

    /// In the configuration, and of the provider that a found server becomes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::LmStudio => "lm-studio",
            Self::LlamaCpp => "llama-cpp",
            Self::Vllm => "vllm",
        }
    }

    /// Where it listens unless it was told otherwise.
    pub fn usual_port(self) -> u16 {
        match self {
            Self::Ollama => 11434,
            Self::LmStudio => 1234,
            Self::LlamaCpp => 8080,
            Self::Vllm => 8000,
        }
    }
}

/// As its makers write it.
impl fmt::Display for LocalProduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ollama => "Ollama",
            Self::LmStudio => "LM Studio",
            Self::LlamaCpp => "llama.cpp",
            Self::Vllm => "vLLM",
        })
    }
}

/// A product, and the port of 127.0.0.1 where it is looked for: `ollama`, or `ollama=11500`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LocalServer {
    pub product: LocalProduct,
    pub port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be {ALLOWED}")]
pub struct InvalidLocalServer;

const ALLOWED: &str =
    "ollama, lm-studio, llama-cpp or vllm, with = and a port from 1 to 65535 unless it is the usual one";

impl FromStr for LocalServer {
    type Err = InvalidLocalServer;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, port) = match text.split_once('=') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        };
        let product = LocalProduct::ALL.into_iter().find(|product| product.as_str() == name);
        let product = product.ok_or(InvalidLocalServer)?;
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or(InvalidLocalServer)?,
            None => product.usual_port(),
        };
        Ok(Self { product, port })
    }
}

impl TryFrom<String> for LocalServer {
    type Error = InvalidLocalServer;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

pub(super) const FIELDS: &[Field] = &[
    optional(
        "servers",
        Kind::Texts(Rule {
            allowed: ALLOWED,
            holds: |text| text.parse::<LocalServer>().is_ok(),
        }),
    ),
    required("look_timeout", Kind::Span(MILLISECOND, MINUTE)),
    required("titles", Kind::Flag),
];

impl LocalConfig {
    pub(super) fn validate(&self, check: &mut Check) {
        let environment = check.environment();
        if !self.servers.is_empty() && !environment.is_development() {
            check.refuse(
                ["local", "servers"],
                format!(
                    "must be empty in {}: whatever listens on a port would become a provider; name it under [providers]",
                    environment.as_str()
                ),
            );
        }
        let products = self.servers.iter().map(|server| server.product);
        let distinct: std::collections::BTreeSet<_> = products.collect();
        if distinct.len() < self.servers.len() {
            check.refuse(
                ["local", "servers"],
                "must name each product once; a second server of one goes under [providers]",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LocalProduct, LocalServer};

    #[test]
    fn a_product_has_its_usual_port_unless_another_is_given() {
        let read = |text: &str| text.parse::<LocalServer>().map(|server| (server.product, server.port));
        assert_eq!(read("ollama"), Ok((LocalProduct::Ollama, 11434)));
        assert_eq!(read("lm-studio=4321"), Ok((LocalProduct::LmStudio, 4321)));
        for bad in [
            "",
            "ollama=",
            "ollama=0",
            "ollama=65536",
            "ollama=host:1",
            "Ollama",
            "jan",
            "=1",
            "vllm=1=2",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
