//! What many callers share: turns by key, budgets of bytes, limits on waiting, and writes in a row.

pub mod deadline;
pub mod fair_queue;
pub mod memory;
pub mod write_coalescing;
