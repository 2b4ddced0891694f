//! What is wrong with the configuration: everything at once, each with its key, its origin and what is allowed.

use std::{collections::BTreeMap, fmt::Display};

use config::Value;

use super::{
    leaf,
    path::Path,
    schema::{Field, Kind},
};
use crate::Environment;

/// Suggestions farther than this from what was written are more often noise than help.
const CLOSE_ENOUGH: f64 = 0.75;

/// Why the process does not start: a line a fault, ordered by key. Never empty.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} fault{}:\n  {}", .0.len(), if .0.len() == 1 { "" } else { "s" }, .0.join("\n  "))]
pub struct ConfigFaults(pub(super) Vec<String>);

impl ConfigFaults {
    pub fn iter(&self) -> impl Iterator<Item = &String> {
        self.0.iter()
    }
}

/// A key of the schema, and the value that it has, refused or not.
pub(super) struct Given {
    pub(super) path: Path,
    pub(super) kind: Kind,
    pub(super) value: Option<Value>,
}

/// Collects faults while the sources are read, held against the schema, and handed to each section's `validate`.
#[derive(Default)]
pub(crate) struct Check {
    environment: Environment,
    /// Lines by key, and by what they are about: a key, or a file or variable that cannot be used at all, which has none.
    faults: BTreeMap<(Path, String), Vec<String>>,
    /// What was held against the schema, in its order.
    pub(super) given: Vec<Given>,
    /// A source could not be read: what is missing may be in there, and rules about the whole would mislead.
    pub(super) incomplete: bool,
}

impl Check {
    pub(super) fn new(environment: Environment) -> Self {
        Self {
            environment,
            ..Self::default()
        }
    }

    pub(crate) fn environment(&self) -> Environment {
        self.environment
    }

    /// Notes a fault with the value's text and origin. A value that has one already keeps that one: what is checked then
    /// is only its stand-in.
    pub(crate) fn refuse(&mut self, path: impl Into<Path>, problem: impl Display) {
        let path = path.into();
        if self.is_refused(path.clone()) {
            return;
        }
        let given = self.given.iter().find(|given| given.path == path);
        let value = given.and_then(|given| given.value.as_ref());
        let shown = given
            .zip(value)
            .and_then(|(given, value)| leaf::shown(given.kind, &value.kind));
        let origin = value.and_then(Value::origin).map(str::to_owned);
        self.fault(&path, shown, origin.as_deref(), problem);
    }

    /// Whether the value is a stand-in, for rules that would conclude something from it about another.
    pub(crate) fn is_refused(&self, path: impl Into<Path>) -> bool {
        let path = path.into();
        let subject = path.to_string();
        self.faults.contains_key(&(path, subject))
    }

    /// A file or variable that cannot be used at all.
    pub(super) fn unusable(&mut self, subject: impl Display, problem: impl Display) {
        self.note(Path::default(), subject.to_string(), format!("{subject}: {problem}"));
    }

    pub(super) fn fault(&mut self, path: &Path, shown: Option<String>, origin: Option<&str>, problem: impl Display) {
        let shown = shown.map(|shown| format!(" = {shown}")).unwrap_or_default();
        let origin = origin.map(|origin| format!(" (from {origin})")).unwrap_or_default();
        let line = format!("{path}{shown}{origin}: {problem}");
        self.note(path.clone(), path.to_string(), line);
    }

    /// A key that nothing reads. Its value is not shown, for it may be a misspelt secret.
    pub(super) fn unknown(&mut self, parent: &Path, key: &str, origin: Option<&str>, fields: &[Field]) {
        let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
        let allowed = names.join(", ");
        let likeness = |name: &&str| strsim::jaro_winkler(name, key);
        let nearest = names.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let problem = match nearest.filter(|name| likeness(name) >= CLOSE_ENOUGH) {
            Some(name) => format!("unknown key; did you mean {}? Allowed are {allowed}", parent.key(name)),
            None => format!("unknown key; allowed are {allowed}"),
        };
        self.fault(&parent.key(key), None, origin, problem);
    }

    fn note(&mut self, path: Path, subject: String, line: String) {
        let lines = self.faults.entry((path, subject)).or_default();
        if !lines.contains(&line) {
            lines.push(line);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// What was loaded, and of what, if nothing was wrong with it.
    pub(super) fn into_result<T>(self, loaded: Option<T>) -> Result<(T, Vec<Given>), ConfigFaults> {
        match loaded {
            Some(loaded) if self.faults.is_empty() => Ok((loaded, self.given)),
            _ => Err(ConfigFaults(self.faults.into_values().flatten().collect())),
        }
    }
}
