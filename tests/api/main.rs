//! MapleAI from outside: a really started server on a free port, a real PostgreSQL, and an upstream that misbehaves on
//! request. One file per behaviour.

#![allow(unreachable_pub, reason = "all of it is one binary")]
#![allow(
    clippy::disallowed_methods,
    clippy::large_futures,
    reason = "real time, and tasks that end with their test"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that cannot go on says so"
)]

mod access;
mod accounts;
mod addresses;
mod answer_cache;
mod api_keys;
mod audit;
mod caching;
mod contract;
mod conversations;
mod degraded;
mod deletion;
mod discovery;
mod doctor;
mod errors;
mod failover;
mod framing;
mod http_cache;
mod invitations;
mod journal;
mod limits;
mod local_model;
mod local_servers;
mod look_back;
mod members;
mod memory;
mod metering;
mod metrics;
mod migrations;
mod odd_upstreams;
mod openai;
mod openapi;
mod overload;
mod pages;
mod pooler;
mod probes;
mod process;
mod replicas;
mod rolling;
mod rotation;
mod shares;
mod short_way;
mod shutdown;
mod signals;
mod smoke;
mod sockets;
mod streaming;
mod support;
mod tenancy;
mod tiers;
mod titles;
mod tls;
mod traces;
mod usage;
mod usage_batches;
mod usage_daily;
mod usage_records;
