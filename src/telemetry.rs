//! What the process tells of itself: its log and its metrics.

pub mod logging;
pub mod metrics;
