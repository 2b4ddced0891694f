//! Faults of single fields, collected so that a form shows all of them at once.

use std::borrow::Cow;

/// One field that was refused, and what would be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldFault {
    pub field: Cow<'static, str>,
    pub message: String,
}

/// Collects faults while fields are read.
#[derive(Debug, Default)]
pub struct Faults(Vec<FieldFault>);

impl Faults {
    /// The value, or a note of what is wrong with it.
    pub fn check<T, E: std::fmt::Display>(&mut self, field: &'static str, value: Result<T, E>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(field, error.to_string());
                None
            }
        }
    }

    pub fn add(&mut self, field: &'static str, message: impl Into<String>) {
        self.0.push(FieldFault {
            field: field.into(),
            message: message.into(),
        });
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn into_vec(self) -> Vec<FieldFault> {
        self.0
    }
}
