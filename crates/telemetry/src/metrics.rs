//! Every metric: named, described and given its unit once, here.
//!
//! OpenTelemetry's names where its HTTP and GenAI conventions have one, in Prometheus form; `maple_` otherwise.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

pub const HTTP_DURATION: &str = "http_server_request_duration_seconds";
pub const HTTP_IN_FLIGHT: &str = "http_server_active_requests";
pub const COMPLETIONS: &str = "maple_completions_total";
pub const PROVIDER_FAILURES: &str = "maple_provider_failures_total";
pub const COMPLETIONS_IN_FLIGHT: &str = "maple_completions_in_flight";
pub const COMPLETION_DURATION: &str = "gen_ai_client_operation_duration_seconds";
pub const TIME_TO_FIRST_TOKEN: &str = "gen_ai_server_time_to_first_token_seconds";
pub const TOKENS: &str = "maple_tokens_total";
pub const COST: &str = "maple_cost_nanodollars_total";
pub const UNPRICED_CALLS: &str = "maple_unpriced_calls_total";
pub const USAGE_BACKLOG: &str = "maple_usage_backlog_records";
pub const USAGE_WRITTEN: &str = "maple_usage_records_written_total";
pub const QUEUE_LENGTH: &str = "maple_request_queue_length";
pub const QUEUE_DURATION: &str = "maple_request_queue_duration_seconds";
pub const MEMORY_RESERVED: &str = "maple_memory_reserved_bytes";
pub const REFUSALS: &str = "maple_requests_refused_total";
pub const FORWARDED_FOR_IGNORED: &str = "maple_forwarded_for_ignored_total";
pub const ACTIVE_USERS: &str = "maple_active_users";
pub const RETENTION_DELETED: &str = "maple_retention_deleted_total";
pub const SIGN_UPS: &str = "maple_sign_ups_total";
pub const SIGN_INS: &str = "maple_sign_ins_total";
pub const FEATURE_USES: &str = "maple_feature_uses_total";
pub const BREAKER_OPEN: &str = "maple_breaker_open";
pub const LOG_LINES_LOST: &str = "maple_log_lines_lost_total";
pub const RUNTIME_WORKERS: &str = "maple_runtime_workers";
pub const RUNTIME_TASKS: &str = "maple_runtime_tasks";
pub const RUNTIME_QUEUE: &str = "maple_runtime_queue_length";
pub const RUNTIME_BUSY: &str = "maple_runtime_busy_ratio";
pub const DATABASE_WAITING: &str = "maple_database_requests_waiting";
pub const REDIS_CONNECTIONS: &str = "maple_redis_connections";
pub const CACHE_OPERATIONS: &str = "maple_cache_operations_total";
pub const CACHE_AGE: &str = "maple_cache_hit_age_seconds";
pub const CACHE_BYTES: &str = "maple_cache_bytes";
pub const CACHE_ENTRIES: &str = "maple_cache_entries";
pub const CACHE_ANSWERS: &str = "maple_cache_answers_total";
pub const CACHE_SAVED: &str = "maple_cache_saved_nanodollars_total";
pub const CACHE_CHANNEL_UP: &str = "maple_cache_channel_up";
pub const CACHE_FORGED: &str = "maple_cache_forged_total";
pub const REDIS_WRITABLE: &str = "maple_redis_writable";
pub const USAGE_JOURNAL_UP: &str = "maple_usage_journal_up";
pub const USAGE_JOURNAL_BYTES: &str = "maple_usage_journal_bytes";
pub const USAGE_JOURNAL_REPLAYED: &str = "maple_usage_journal_replayed_total";
pub const USAGE_JOURNAL_DAMAGED: &str = "maple_usage_journal_damaged_total";
pub const USAGE_SET_ASIDE: &str = "maple_usage_records_set_aside_total";
pub const DATABASE_CONNECTIONS: &str = "maple_database_connections";
pub const DATABASE_UP: &str = "maple_database_up";
pub const DATABASE_WRITABLE: &str = "maple_database_writable";
pub const DATABASE_OUTAGES: &str = "maple_database_outages_total";
pub const DATABASE_STALE: &str = "maple_database_stale_primaries_total";
pub const REPLICA_LAG: &str = "maple_replica_lag_seconds";
pub const REPLICA_READS: &str = "maple_replica_reads_total";
pub const SECRET_ROTATIONS: &str = "maple_secret_rotations_total";
pub const BUILD_INFO: &str = "maple_build_info";

const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
];

/// Response times decide whether a release goes on (k8s/components/analysis): three times the time must look like more than
/// twice, so no bucket between 50 ms and 15 s is much wider than half its own lower bound.
const RESPONSE_SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5, 3.5, 5.0, 7.5,
    10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0,
];

/// Ages of cached answers: up to a day.
const AGES: &[f64] = &[1.0, 5.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0];

/// Installs the process-wide recorder and describes every metric. Histograms have buckets: summaries could not be added
/// up across instances.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Full(HTTP_DURATION.to_owned()), RESPONSE_SECONDS)?
        .set_buckets_for_metric(Matcher::Full(CACHE_AGE.to_owned()), AGES)?
        .install_recorder()?;
    describe();
    Ok(handle)
}

fn describe() {
    describe_histogram!(
        HTTP_DURATION,
        Unit::Seconds,
        "Time from a request's arrival to its response head, by route, method and status"
    );
    describe_gauge!(
        HTTP_IN_FLIGHT,
        Unit::Count,
        "Requests whose response head has not been sent yet"
    );
    describe_counter!(
        COMPLETIONS,
        Unit::Count,
        "Calls to models by model, provider and outcome"
    );
    describe_counter!(
        PROVIDER_FAILURES,
        Unit::Count,
        "Calls that a provider failed, by provider and kind of failure; each has a line in the log, up to a bound"
    );
    describe_gauge!(
        COMPLETIONS_IN_FLIGHT,
        Unit::Count,
        "Calls to models that have not ended, streams included"
    );
    describe_histogram!(
        COMPLETION_DURATION,
        Unit::Seconds,
        "Time from a call's arrival to its end, streams included"
    );
    describe_histogram!(
        TIME_TO_FIRST_TOKEN,
        Unit::Seconds,
        "Time from a call's arrival to the first text of its answer"
    );
    describe_counter!(
        TOKENS,
        Unit::Count,
        "Tokens by model and direction, reported or estimated"
    );
    describe_counter!(COST, Unit::Count, "Cost of calls in billionths of a US dollar");
    describe_gauge!(QUEUE_LENGTH, Unit::Count, "Calls to models that wait for a place");
    describe_histogram!(
        QUEUE_DURATION,
        Unit::Seconds,
        "Time that calls waited for a place, those included that got none"
    );
    describe_gauge!(
        MEMORY_RESERVED,
        Unit::Bytes,
        "What is counted for large bodies, whole answers and large events of streams, of admission.memory_bytes"
    );
    describe_counter!(
        RETENTION_DELETED,
        Unit::Count,
        "Rows that were deleted since they are kept no longer, by class"
    );
    describe_counter!(
        REFUSALS,
        Unit::Count,
        "Requests that were turned away to protect the service or its users, by reason"
    );
    describe_counter!(
        FORWARDED_FOR_IGNORED,
        Unit::Count,
        "Requests whose X-Forwarded-For was not believed: the peer is not in server.trusted_proxies"
    );
    describe_counter!(
        SECRET_ROTATIONS,
        Unit::Count,
        "Secrets that changed in their files while the service ran, by outcome: applied or refused"
    );
    describe_gauge!(USAGE_BACKLOG, Unit::Count, "Usage records that wait for the database");
    describe_counter!(USAGE_WRITTEN, Unit::Count, "Usage records written to the database");
    describe_gauge!(
        USAGE_JOURNAL_UP,
        Unit::Count,
        "1 while usage records are kept in the journal, 0 while it cannot be written; absent without a journal"
    );
    describe_gauge!(
        USAGE_JOURNAL_BYTES,
        Unit::Bytes,
        "Bytes of usage records in the journal"
    );
    describe_counter!(
        USAGE_JOURNAL_REPLAYED,
        Unit::Count,
        "Usage records of processes that died, taken from the journal to the database"
    );
    describe_counter!(
        USAGE_JOURNAL_DAMAGED,
        Unit::Count,
        "Damaged places in journals of processes that died, passed over; the file is set aside"
    );
    describe_gauge!(
        DATABASE_WRITABLE,
        Unit::Count,
        "1 while the database takes writes, 0 while it is away or refuses them"
    );
    describe_counter!(
        DATABASE_STALE,
        Unit::Count,
        "Connections that were refused since they led to a primary whose history had ended"
    );
    describe_gauge!(
        REPLICA_LAG,
        Unit::Seconds,
        "Age of the newest marker that a read replica has, by the primary's clock; grows while the replica does not answer"
    );
    describe_counter!(
        REPLICA_READS,
        Unit::Count,
        "Reads that a replica is for, by whom they were answered (source: replica, primary) and why (reason: fit, unknown, behind, foreign, failed)"
    );
    describe_counter!(DATABASE_OUTAGES, Unit::Count, "How often the database has gone away");
    describe_counter!(
        USAGE_SET_ASIDE,
        Unit::Count,
        "Usage records that the database refuses, set aside in the journal's folder"
    );
    describe_gauge!(
        DATABASE_CONNECTIONS,
        Unit::Count,
        "Pooled database connections by database and state: in_use, idle, max"
    );
    describe_gauge!(
        DATABASE_UP,
        Unit::Count,
        "1 while the database answers, 0 while it is known to be away"
    );
    describe_gauge!(
        DATABASE_WAITING,
        Unit::Count,
        "Requests that wait for a database connection"
    );
    describe_gauge!(
        BREAKER_OPEN,
        Unit::Count,
        "1 while calls to a dependency are refused without being tried"
    );
    describe_gauge!(
        ACTIVE_USERS,
        Unit::Count,
        "People who used the service within a day and a week, over all organisations"
    );
    describe_counter!(
        SIGN_UPS,
        Unit::Count,
        "Organisations registered and invitations accepted, by kind"
    );
    describe_counter!(SIGN_INS, Unit::Count, "Attempts to sign in, by outcome");
    describe_counter!(FEATURE_USES, Unit::Count, "What people and programs do, by feature");
    describe_counter!(
        LOG_LINES_LOST,
        Unit::Count,
        "Log lines that could not be written, or not fast enough"
    );
    describe_gauge!(RUNTIME_WORKERS, Unit::Count, "Threads that serve requests");
    describe_gauge!(RUNTIME_TASKS, Unit::Count, "Tasks that have not ended");
    describe_gauge!(
        RUNTIME_QUEUE,
        Unit::Count,
        "Tasks that wait in the runtime's common queue"
    );
    describe_gauge!(
        RUNTIME_BUSY,
        Unit::Count,
        "Share of the last second that the threads which serve requests were at work, 0 to 1"
    );
    describe_gauge!(
        REDIS_CONNECTIONS,
        Unit::Count,
        "Pooled Redis connections by state: in_use, idle, max; and callers waiting"
    );
    describe_counter!(
        CACHE_OPERATIONS,
        Unit::Count,
        "Cache operations by tier (memory, redis, source), class and operation"
    );
    describe_histogram!(CACHE_AGE, Unit::Seconds, "Age of what the cache gave, by class");
    describe_gauge!(CACHE_BYTES, Unit::Bytes, "Memory that cached answers take, by class");
    describe_gauge!(CACHE_ENTRIES, Unit::Count, "Cached answers in memory, by class");
    describe_counter!(
        CACHE_ANSWERS,
        Unit::Count,
        "Calls to models by what the cache did: hit, miss, coalesced, bypass"
    );
    describe_counter!(
        UNPRICED_CALLS,
        "Calls that consumed tokens of a model without a price, which cost nothing here whatever they cost at the provider"
    );
    describe_counter!(
        CACHE_SAVED,
        Unit::Count,
        "Cost that cached answers did not cause, in billionths of a US dollar"
    );
    describe_gauge!(
        CACHE_CHANNEL_UP,
        Unit::Count,
        "1 while other instances' invalidations are heard, 0 while they are not; absent without Redis"
    );
    describe_counter!(
        CACHE_FORGED,
        Unit::Count,
        "Entries found in Redis that this service had not written there"
    );
    describe_gauge!(
        REDIS_WRITABLE,
        Unit::Count,
        "1 while Redis takes writes, 0 while it refuses them and is not believed; absent without Redis"
    );
    describe_gauge!(BUILD_INFO, Unit::Count, "Always 1; the labels tell the version");
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    metrics_process::Collector::default().describe();
}
