//! Forgetting more than single entries, everywhere.
//!
//! What can change is forgotten by whoever did not hear the channel for a while. Models' answers are not, since they cost
//! money: so each purge of an organisation's leaves a token in Redis, and who finds one there that the channel has not told of
//! has missed a purge.

use std::sync::{Mutex, PoisonError, atomic::Ordering};

use super::Tiers;
use crate::{
    cache::{class::Class, key::generation_of, redis::RedisError},
    domain::ids::OrganizationId,
};

/// The token's name beside the epochs of the classes.
pub(in crate::cache) const LAST_PURGE: &str = "last_purge";

/// Who has forgotten what was purged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Everybody,
    /// Without Redis nobody else can be told, and nobody knows whether there is somebody.
    ThisProcess,
}

/// Purges as the channel and Redis tell of them, by their tokens.
#[derive(Default)]
pub(super) struct Purges(Mutex<Tokens>);

#[derive(Default)]
struct Tokens {
    heard: Option<u64>,
    /// `None` before the first look, when it is not known what was purged while Redis could not be asked.
    done: Option<u64>,
    /// In Redis, and not heard of by the last look: the message may still come.
    unheard: Option<u64>,
}

impl Tiers {
    /// Forgets a class, or all, of one organisation, or all, everywhere. An error means that others may still have it.
    pub async fn purge(
        &self,
        class: Option<Class>,
        organization: Option<OrganizationId>,
        token: u64,
    ) -> Result<Reach, RedisError> {
        let classes: Vec<Class> = class.map_or_else(|| Class::ALL.to_vec(), |class| vec![class]);
        // Credentials are found by their digest alone: nobody can tell in Redis whose they are.
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
            return Ok(Reach::ThisProcess);
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
                // Now, so that whoever finds it and forgets finds nothing in Redis either.
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
        Ok(Reach::Everybody)
    }

    /// A purge that has been carried out here.
    pub(in crate::cache) fn note_purge(&self, token: u64) {
        self.tokens().heard = Some(token);
    }

    /// The last purge of an organisation, as Redis has it. One that the channel does not tell of by the next look has been
    /// missed, and nobody knows whose it was.
    pub(in crate::cache) fn note_last_purge(&self, token: u64) {
        let mut tokens = self.tokens();
        if tokens.done == Some(token) {
            return;
        }
        let missed = tokens.heard != Some(token);
        if missed && tokens.done.is_some() {
            if tokens.unheard.replace(token) != Some(token) {
                return;
            }
            tracing::info!(target: "mapleai::cache", "a purge was missed; all answers in memory are forgotten");
        }
        tokens.done = Some(token);
        tokens.unheard = None;
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
