//! Settings that load, and that an operator may not mean as they are.

use super::{Finding, machine, pass, warn};
use configuration::{Config, Environment};
use domain::ids::UserId;
use store::{Database, Replicas, Store};
use telemetry::error_chain;

/// What a stream takes while it goes on, in bytes (config/default.toml).
const STREAM: u64 = 33 * 1024;
/// The program itself, its pools and its log.
const PROGRAM: u64 = 96 * 1024 * 1024;
const MIB: u64 = 1024 * 1024;

/// Whether strangers may make themselves accounts.
pub(super) fn registration(config: &Config) -> Finding {
    match (config.auth.open_registration, config.environment) {
        (false, _) => pass("closed; people come by invitation"),
        (true, Environment::Development) => pass("open, as development has it"),
        (true, environment) => warn(
            format!(
                "open in {}: whoever reaches the service makes an organisation, and calls models at the operator's cost",
                environment.as_str()
            ),
            "set auth.open_registration to false, unless it is meant for everybody; `mapleai org create` makes organisations",
        ),
    }
}

/// Whether as many calls as are let in have what each of them needs.
pub(super) fn calls(config: &Config) -> Finding {
    let (server, admission) = (&config.server, &config.admission);
    let mut findings = Vec::new();
    if admission.max_in_flight > server.max_connections {
        findings.push(format!(
            "admission.max_in_flight ({}) is above server.max_connections ({}), which end first",
            admission.max_in_flight, server.max_connections
        ));
    }
    if config.usage.queue_capacity < admission.max_in_flight {
        findings.push(format!(
            "usage.queue_capacity ({}) is below admission.max_in_flight ({}), and a call without a place for its record is refused",
            config.usage.queue_capacity, admission.max_in_flight
        ));
    }
    // As it came, and as the provider is sent it.
    if server.body_limit.saturating_mul(2) > admission.memory_bytes / 4 * 3 {
        findings.push(format!(
            "server.body_limit ({}), counted twice, is above what an organisation has of admission.memory_bytes ({}): one large body \
             holds up all of its others",
            server.body_limit, admission.memory_bytes
        ));
    }
    let wanted = memory(config);
    let allowed = machine::memory();
    if let Some(allowed) = allowed.filter(|allowed| *allowed < wanted) {
        findings.push(format!(
            "{} MiB of memory are there, and up to {} MiB wanted by calls in flight, bodies and caches",
            allowed / MIB,
            wanted / MIB
        ));
    }
    if findings.is_empty() {
        pass(format!(
            "{} in flight, up to {} MiB with caches",
            admission.max_in_flight,
            wanted / MIB
        ))
    } else {
        warn(
            findings.join("; "),
            "bring [admission], [server], [usage] and [cache] in line; config/default.toml says what each takes",
        )
    }
}

/// What a process may come to take.
fn memory(config: &Config) -> u64 {
    let counted = config.admission.memory_bytes as u64;
    // What is small comes on top, a quarter as much at the most.
    let bodies = counted.saturating_add(counted / 4);
    let streams = (config.admission.max_in_flight as u64).saturating_mul(STREAM);
    [
        bodies,
        streams,
        config.cache.memory_bytes,
        config.cache.answer_memory_bytes,
    ]
    .into_iter()
    .fold(PROGRAM, u64::saturating_add)
}

/// Whether an address leads to one account: an earlier release told spellings apart that this one does not.
pub(super) async fn addresses(config: &Config) -> Finding {
    let look = match Database::new(&config.database) {
        Ok(database) => {
            Store::new(&database, &Replicas::default())
                .accounts
                .colliding_emails()
                .await
        }
        Err(error) => Err(error),
    };
    match look {
        Err(error) => warn(
            error_chain(&error),
            "the database must be reachable, and migrated, first",
        ),
        Ok(accounts) if accounts.is_empty() => pass("each is one account's"),
        Ok(accounts) => warn(
            format!(
                "{} accounts have another account's address in another spelling: {}",
                accounts.len(),
                some_of(&accounts)
            ),
            "decide which of the two goes, and remove it: whoever types the address is signed in to the one that holds it",
        ),
    }
}

fn some_of(accounts: &[UserId]) -> String {
    const SHOWN: usize = 10;
    let shown: Vec<_> = accounts.iter().take(SHOWN).map(UserId::to_string).collect();
    let more = if accounts.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}
