//! `[admission]`: how many calls to models run at a time, and who waits.

use std::time::Duration;

use serde::Deserialize;

use super::load::{
    check::Check,
    schema::{Field, Kind, MINUTE, required},
};

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdmissionConfig {
    /// Calls in flight in this process, streams included until they end.
    pub max_in_flight: usize,
    /// Calls in flight of one organisation: what is left is a reserve for others.
    pub max_in_flight_per_organization: usize,
    /// Calls that wait for a place; those beyond are refused at once.
    pub queue_length: usize,
    /// The longest wait. A call that would wait longer is refused at once.
    #[serde(with = "humantime_serde")]
    pub queue_timeout: Duration,
    /// Bytes of bodies, whole answers and large events of streams in memory at a time.
    pub memory_bytes: usize,
}

pub(super) const FIELDS: &[Field] = &[
    required("max_in_flight", Kind::Number(1, 1_000_000)),
    required("max_in_flight_per_organization", Kind::Number(1, 1_000_000)),
    required("queue_length", Kind::Number(0, 1_000_000)),
    required("queue_timeout", Kind::Span(Duration::ZERO, MINUTE)),
    required("memory_bytes", Kind::Number(1024 * 1024, 1024 * 1024 * 1024 * 1024)),
];

impl AdmissionConfig {
    pub(super) fn validate(&self, check: &mut Check) {
        if self.max_in_flight_per_organization > self.max_in_flight && !check.is_refused(["admission", "max_in_flight"])
        {
            check.refuse(
                ["admission", "max_in_flight_per_organization"],
                format!(
                    "must not be above admission.max_in_flight, which is {}",
                    self.max_in_flight
                ),
            );
        }
    }
}
