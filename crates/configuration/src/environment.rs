//! Which of the three environments this process runs in.

use serde::{Deserialize, Serialize};

/// `MAPLE_ENV`. Decides which configuration file is read and which relaxations are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    #[default]
    Development,
    Staging,
    Production,
}

impl Environment {
    pub const ALL: [Self; 3] = [Self::Development, Self::Staging, Self::Production];

    /// The value of `MAPLE_ENV` and the stem of the configuration file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }

    /// That of a name, as `MAPLE_ENV` has it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|environment| environment.as_str() == name)
    }

    /// Whether there is an account whose password everybody knows.
    pub fn has_demo_account(self) -> bool {
        self.is_development()
    }

    /// Whether the page's cookie may travel over http.
    pub fn allows_http_cookies(self) -> bool {
        self.is_development()
    }

    /// Relaxations of single configuration keys are beside the keys; docs/ENVIRONMENTS.md has them all in one table.
    pub fn is_development(self) -> bool {
        self == Self::Development
    }
}
