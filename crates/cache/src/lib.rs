//! Two tiers of cached values behind one typed interface: the memory of this process, and a Redis that all processes share.
//!
//! - [`class`]: what is cached, for how long, and who may change it: the one list.
//! - [`key`]: typed, tenant-first keys.
//! - [`value`]: how a value is weighed, and written for Redis.
//! - [`cached`]: `get_or_load` and invalidation, for one class.
//! - [`tiers`]: what the classes share: Redis, and how long entries in memory stay valid.
//! - [`redis`]: one connection to one Redis or one cluster, with a limit on every wait and a breaker for each part of it.
//! - [`channel`]: the Redis channel on which processes send each other invalidations.
//!
//! Whatever happens to Redis, a caller waits for it at most once and briefly; then the loader runs.

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
