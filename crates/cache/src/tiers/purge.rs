//! Purges whole classes or organisations, in every process.
//!
//! A process that lost the channel for a while drops its mutable entries. It keeps the models' answers, since they cost money.
//! Therefore each purge of an organisation's answers leaves a token in Redis, and a process that finds a token there without
//! having received the message has missed a purge.

use std::sync::{Mutex, PoisonError, atomic::Ordering};

use super::Tiers;
use crate::{class::Class, key::generation_of, redis::RedisError};
use domain::ids::OrganizationId;

/// The token's name beside the epochs of the classes.
pub(crate) const LAST_PURGE: &str = "last_purge";

/// The processes that a purge reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurgeScope {
    AllProcesses,
    /// Without Redis other processes cannot be told, and it is unknown whether there are any.
    ThisProcess,
}

/// Tokens of the purges received on the channel and read from Redis.
#[derive(Default)]
pub(super) struct Purges(Mutex<Tokens>);

#[derive(Default)]
struct Tokens {
    received: Option<u64>,
    /// `None` before the first read, when purges during an outage of Redis are unknown.
    done: Option<u64>,
    /// Found in Redis without a message at the last read: the message may still come.
    unannounced: Option<u64>,
}

impl Tiers {
    /// Drops a class, or all, of one organisation, or all, in every process. After an error other processes may still have it.
    pub async fn purge(
        &self,
        class: Option<Class>,
        organization: Option<OrganizationId>,
        token: u64,
    ) -> Result<PurgeScope, RedisError> {
        let classes: Vec<Class> = class.map_or_else(|| Class::ALL.to_vec(), |class| vec![class]);
        // Credentials are stored by their digest alone: Redis does not know their organisation.
        let by_class = |class: &Class| organization.is_none() || matches!(class, Class::Cookie | Class::ApiKey);
        self.each_local(|local| {
            if classes.contains(&local.class()) {
                match organization {
                    Some(organization) if !by_class(&local.class()) => local.forget_organization(organization),
                    _ => local.forget_all(),
                }
            }
        });
        let Some(redis) = self.redis() else {
            return Ok(PurgeScope::ThisProcess);
        };
        let epochs: Vec<_> = classes
            .iter()
            .filter(|class| by_class(class))
            .map(|class| (class.as_str(), token))
            .collect();
        if !epochs.is_empty() {
            redis.set_epochs(&epochs).await?;
            // At once, rather than with the next heartbeat: what Redis has is of another epoch from now on.
            for class in classes.iter().filter(|class| by_class(class)) {
                self.0.epochs[*class as usize].store(token, Ordering::Relaxed);
            }
        }
        if let Some(organization) = organization {
            for class in classes.iter().filter(|class| !by_class(class)) {
                let (name, slot) = generation_of(organization, *class);
                redis.set_generation(&name, slot, token).await?;
            }
            if classes.iter().any(|class| !class.is_mutable()) {
                self.note_purge(token);
                // After the generations, so that a process that finds the token and drops its entries finds none in Redis either.
                redis.set_epochs(&[(LAST_PURGE, token)]).await?;
            }
        }
        let whose = organization.map_or_else(|| "*".to_owned(), |organization| organization.to_string());
        let messages: Vec<_> = classes
            .iter()
            .map(|class| {
                let whose = if by_class(class) { "*" } else { &whose };
                format!("{:x} p {} {whose} {token:x}", self.instance(), class.as_str())
            })
            .collect();
        redis.publish(&messages).await?;
        Ok(PurgeScope::AllProcesses)
    }

    /// Records a purge that has been done here.
    pub(crate) fn note_purge(&self, token: u64) {
        self.tokens().received = Some(token);
    }

    /// Compares the last purge token in Redis with the messages received. A token without a message by the next read means a
    /// missed purge of an unknown organisation, so all answers in memory are dropped.
    pub(crate) fn note_last_purge(&self, token: u64) {
        let mut tokens = self.tokens();
        if tokens.done == Some(token) {
            return;
        }
        let missed = tokens.received != Some(token);
        if missed && tokens.done.is_some() {
            if tokens.unannounced.replace(token) != Some(token) {
                return;
            }
            tracing::info!(target: "mapleai::cache", "a purge was missed; all answers in memory are forgotten");
        }
        tokens.done = Some(token);
        tokens.unannounced = None;
        drop(tokens);
        if missed {
            self.each_local(|local| {
                if !local.class().is_mutable() {
                    local.forget_all();
                }
            });
        }
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, Tokens> {
        self.0.purges.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
