//! Two tiers of remembered answers behind one typed interface: this process's memory, and a Redis that all share.
//!
//! - [`class`]: what is cached, for how long, and who may change it: the one list.
//! - [`key`]: typed, tenant-first keys.
//! - [`value`]: how a value is weighed, and written for Redis.
//! - [`cached`]: `get_or_load` and invalidation, for one class.
//! - [`tiers`]: what the classes share: Redis, and how far memory may be believed.
//! - [`redis`]: one connection to one Redis or one cluster, with a limit on every wait and a breaker for each part of it.
//! - [`channel`]: how processes tell each other what is no longer so.
//!
//! Whatever happens to Redis, a caller waits for it at most once and briefly, and the loader answers.

pub mod cached;
pub mod channel;
pub mod class;
pub mod counts;
mod flight;
mod json_value;
pub mod key;
mod metrics;
pub mod redis;
pub mod tiers;
pub mod value;

pub use cached::{Cached, Hit};
pub use class::Class;
pub use key::{Key, Scope};
pub use tiers::{CacheStats, PurgeScope, Tiers};
pub use value::Value;
