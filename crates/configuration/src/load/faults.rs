//! What is wrong with the configuration: everything at once, each with its key, its origin and what is allowed.

use std::fmt;

use super::path::Path;

/// Suggestions farther than this from what was written are more often noise than help.
const CLOSE_ENOUGH: f64 = 0.75;

/// One thing to correct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    path: Option<Path>,
    /// A key, or the file or variable that could not be read.
    subject: String,
    /// The refused value as text, unless it is or may be a secret.
    value: Option<String>,
    /// The file or the variable that the value came from.
    origin: Option<String>,
    problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.subject)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        if let Some(origin) = &self.origin {
            write!(f, " (from {origin})")?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// Why the process does not start. Never empty; ordered by key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFaults(Vec<Fault>);

impl ConfigFaults {
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "the configuration has {} fault{plural}:", self.0.len())?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl std::error::Error for ConfigFaults {}

/// Collects faults while the sources are read and checked.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    /// A file or variable that cannot be used at all.
    pub(super) fn unusable(&mut self, subject: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Fault {
            path: None,
            subject: subject.into(),
            value: None,
            origin: None,
            problem: problem.into(),
        });
    }

    pub(super) fn at(&mut self, path: Path, value: Option<String>, origin: Option<&str>, problem: impl Into<String>) {
        self.0.push(Fault {
            subject: path.to_string(),
            path: Some(path),
            value,
            origin: origin.map(str::to_owned),
            problem: problem.into(),
        });
    }

    /// A key that nothing reads. Its value is not shown, for it may be a misspelt secret.
    pub(super) fn unknown<'k>(
        &mut self,
        parent: &Path,
        key: &str,
        origin: Option<&str>,
        siblings: impl Iterator<Item = &'k str>,
    ) {
        let siblings: Vec<&str> = siblings.collect();
        let nearest = siblings
            .iter()
            .map(|sibling| (strsim::jaro_winkler(sibling, key), *sibling))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .filter(|(likeness, _)| *likeness >= CLOSE_ENOUGH);
        let allowed = siblings.join(", ");
        let problem = match nearest {
            Some((_, sibling)) => format!(
                "unknown key; did you mean {}? Allowed are {allowed}",
                parent.key(sibling)
            ),
            None => format!("unknown key; allowed are {allowed}"),
        };
        self.at(parent.key(key), None, origin, problem);
    }

    /// Whether this very value has been refused already; one fault a value is enough.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.0.iter().any(|fault| fault.path.as_ref() == Some(path))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was loaded, if nothing was wrong with it.
    pub(super) fn into_result<T>(mut self, loaded: Option<T>) -> Result<T, ConfigFaults> {
        match loaded {
            Some(loaded) if self.0.is_empty() => Ok(loaded),
            _ => {
                self.0.sort_by(|a, b| (&a.path, &a.subject).cmp(&(&b.path, &b.subject)));
                self.0.dedup();
                Err(ConfigFaults(self.0))
            }
        }
    }
}
