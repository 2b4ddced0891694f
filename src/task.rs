//! Background work beside the edge. Every task is tracked, watches its token, and calls services only.

pub mod audit;
pub mod discovery;
pub mod local_models;
pub mod marker;
pub mod retention;
pub mod revocations;
pub mod sweep;
pub mod usage_flush;
pub mod usage_journal;
