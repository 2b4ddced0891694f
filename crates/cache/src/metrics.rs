//! Counters of one class, made once.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::class::Class;
use telemetry::metrics as names;

pub(super) struct ClassMetrics {
    pub(super) memory_hits: Counter,
    pub(super) memory_misses: Counter,
    pub(super) evictions: Counter,
    pub(super) redis_hits: Counter,
    pub(super) redis_misses: Counter,
    pub(super) redis_errors: Counter,
    /// Entries in Redis that nobody of ours had written there.
    pub(super) forged: Counter,
    pub(super) loads: Counter,
    pub(super) failed_loads: Counter,
    pub(super) coalesced: Counter,
    pub(super) refreshed: Counter,
    pub(super) invalidations: Counter,
    pub(super) age: Histogram,
    pub(super) bytes: Gauge,
    pub(super) entries: Gauge,
}

impl ClassMetrics {
    pub(super) fn new(class: Class) -> Self {
        let class = class.as_str();
        let of = |tier: &'static str, operation: &'static str| counter!(names::CACHE_OPERATIONS, "tier" => tier, "class" => class, "operation" => operation);
        Self {
            memory_hits: of("memory", "hit"),
            memory_misses: of("memory", "miss"),
            evictions: of("memory", "eviction"),
            redis_hits: of("redis", "hit"),
            redis_misses: of("redis", "miss"),
            redis_errors: of("redis", "error"),
            forged: counter!(names::CACHE_FORGED, "class" => class),
            loads: of("source", "load"),
            failed_loads: of("source", "error"),
            coalesced: of("source", "coalesced"),
            refreshed: of("source", "early_refresh"),
            invalidations: of("memory", "invalidation"),
            age: histogram!(names::CACHE_AGE, "class" => class),
            bytes: gauge!(names::CACHE_BYTES, "class" => class),
            entries: gauge!(names::CACHE_ENTRIES, "class" => class),
        }
    }
}
