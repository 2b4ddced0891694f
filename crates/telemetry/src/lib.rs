//! What the process tells of itself: its log and its metrics.

pub mod context;
mod error_chain;
pub mod feature;
pub mod limit;
pub mod logging;
pub mod metrics;
pub mod traces;

pub use error_chain::error_chain;
