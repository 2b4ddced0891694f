//! What the process tells of itself: its log and its metrics.

pub mod context;
pub mod limit;
pub mod logging;
pub mod metrics;
pub mod traces;
