//! The environments that there are.

use std::fmt;

use crate::error::TaskError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Environment {
    Staging,
    Production,
}

impl Environment {
    pub(crate) fn parse(text: &str) -> Result<Self, TaskError> {
        match text {
            "staging" => Ok(Self::Staging),
            "production" => Ok(Self::Production),
            _ => TaskError::refused(format!(
                "there is no environment '{text}'; there are staging and production"
            )),
        }
    }

    /// Also its namespace, and its folder in k8s/.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Environment;

    #[test]
    fn there_are_two() {
        for name in ["staging", "production"] {
            assert_eq!(Environment::parse(name).unwrap().to_string(), name);
        }
        for name in ["", "base", "prod", "../k8s/staging", "Staging"] {
            let error = Environment::parse(name).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("there is no environment '{name}'; there are staging and production")
            );
        }
    }
}
