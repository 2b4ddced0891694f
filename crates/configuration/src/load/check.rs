//! What a section's `validate` is handed: rules that one value alone cannot tell.

use std::collections::BTreeMap;

use super::{faults::Faults, path::Path, walk::Seen};
use crate::Environment;

pub(crate) struct Check<'c> {
    environment: Environment,
    faults: &'c mut Faults,
    seen: &'c BTreeMap<Path, Seen>,
}

impl<'c> Check<'c> {
    pub(super) fn new(environment: Environment, faults: &'c mut Faults, seen: &'c BTreeMap<Path, Seen>) -> Self {
        Self {
            environment,
            faults,
            seen,
        }
    }

    pub(crate) fn environment(&self) -> Environment {
        self.environment
    }

    /// Notes a fault with the value's text and origin. A value that has one already keeps that one: what is checked then
    /// is only its stand-in.
    pub(crate) fn refuse(&mut self, path: impl Into<Path>, problem: impl Into<String>) {
        let path = path.into();
        if self.faults.has(&path) {
            return;
        }
        let seen = self.seen.get(&path);
        let value = seen.and_then(|seen| seen.shown.clone());
        let origin = seen.and_then(|seen| seen.origin.as_deref());
        self.faults.at(path, value, origin, problem);
    }

    /// Whether the value is a stand-in, for rules that would conclude something from it about another.
    pub(crate) fn is_refused(&self, path: impl Into<Path>) -> bool {
        self.faults.has(&path.into())
    }
}
