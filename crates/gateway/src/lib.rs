//! The data plane: calls of models, from admission to the record of usage, and what is remembered of them.
//!
//! The rules, one file per noun. Nothing here knows HTTP, and nothing here writes SQL.

pub mod admission;
pub mod audit;
pub mod caches;
pub mod completions;
pub mod live_calls;
pub mod models;
pub mod organizations;
pub mod throttle;
pub mod usage;
