//! Cache administration for operators and administrators. The security log records each purge.

use std::time::{Duration, Instant};

use super::Caches;
use crate::audit::{act, act_of};
use crate::throttle::Throttled;
use cache::{CacheStats, Class, redis::RedisError};
use domain::field::FieldFault;
use domain::{
    account::SessionOwner,
    audit::{Act, Action, Actor, Target},
    ids::OrganizationId,
};

pub use cache::PurgeScope;

/// A starting process waits so long for Redis.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Purges of an organisation in a minute, before each further one has to wait. Each is told to all instances.
const MAX_PURGES: u32 = 5;

#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("some fields were refused")]
    Invalid(Vec<FieldFault>),
    #[error("this takes an administrator")]
    NotAllowed,
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// This process has forgotten; others may not have.
    #[error("Redis could not be told")]
    Redis(#[from] RedisError),
}

/// This process's cache figures, and whether it receives the invalidations of the others.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CacheReport {
    /// `none` without Redis.
    pub redis: &'static str,
    /// Whether the invalidations of other instances are received.
    pub hears_others: bool,
    pub classes: Vec<CacheStats>,
}

impl Caches {
    /// Waits for Redis, if there is one, but not for long.
    pub async fn warm_up(&self) {
        let Some(redis) = self.tiers.redis() else { return };
        let heard = async {
            while !self.tiers.is_coherent() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(SUBSCRIBE_TIMEOUT, heard).await.is_err() {
            tracing::warn!(target: "mapleai::cache", address = redis.address(), "starting without Redis, which does not answer");
        }
    }

    pub fn report(&self) -> CacheReport {
        let redis = match self.tiers.redis() {
            None => "none",
            Some(redis) if redis.is_whole() => "up",
            Some(_) => "away",
        };
        CacheReport {
            redis,
            hears_others: self.tiers.is_subscribed(),
            classes: self.tiers.stats(),
        }
    }

    /// Frees entries that will not be served any more.
    pub fn free_expired(&self) {
        self.tiers.free_expired();
    }

    /// For an operator: forgets a class, or all, of an organisation, or of all.
    pub async fn purge(
        &self,
        class: Option<&str>,
        organization: Option<OrganizationId>,
    ) -> Result<PurgeScope, CacheError> {
        let class = class.map(class_of).transpose()?;
        tracing::info!(
            target: "mapleai::security",
            by = "operator",
            class = class.map(Class::as_str),
            purged_organization_id = organization.map(tracing::field::display),
            "caches purged"
        );
        // One of everybody's is no organisation's to be told.
        if let Some(organization) = organization {
            self.tell_purged(organization, class, &act(Actor::Operator));
        }
        self.run_purge(class, organization).await
    }

    /// For an administrator: forgets the answers of models that the own organisation got. Everything else that is remembered
    /// is forgotten by what changes it; and credentials are found without knowing whose they are, so that to forget those of one
    /// organisation would be to forget everybody's.
    pub async fn purge_own(&self, caller: &SessionOwner, class: Option<&str>) -> Result<PurgeScope, CacheError> {
        if !caller.role.may_manage_members() {
            return Err(CacheError::NotAllowed);
        }
        if class.is_some_and(|class| class != Class::Answer.as_str()) {
            return Err(CacheError::Invalid(vec![FieldFault {
                field: "class".into(),
                message: format!("must be {}, or absent for the same", Class::Answer.as_str()),
            }]));
        }
        let name = *blake3::hash(caller.organization.0.as_bytes()).as_bytes();
        self.purges
            .count(name, MAX_PURGES, Instant::now())
            .map_err(|retry_after| Throttled { retry_after })?;
        tracing::info!(
            target: "mapleai::security",
            by = "administrator",
            organization_id = %caller.organization,
            user_id = %caller.user,
            class = Class::Answer.as_str(),
            "caches purged"
        );
        self.tell_purged(caller.organization, Some(Class::Answer), &act_of(caller));
        self.run_purge(Some(Class::Answer), Some(caller.organization)).await
    }

    /// For where it cannot be told which sessions of an organisation something concerns.
    pub async fn forget_sessions(&self, organization: OrganizationId) {
        if let Err(error) = self.run_purge(Some(Class::Session), Some(organization)).await {
            tracing::debug!(target: "mapleai::cache", error = &error as &dyn std::error::Error, "Redis could not be told");
        }
    }

    /// Forgets all that is cached of a class, in this process's memory and in Redis, for all organisations: more of `what` changed than
    /// one look reads, so any entry may be out of date. Redis is not asked until it could be told.
    pub async fn forget_class(&self, class: Class, what: &str) {
        tracing::warn!(target: "mapleai::cache", what, class = class.as_str(), "more has changed than one look goes through; all that is cached of the class is forgotten");
        if let Err(error) = self.run_purge(Some(class), None).await {
            tracing::warn!(target: "mapleai::cache", class = class.as_str(), error = &error as &dyn std::error::Error, "Redis could not be told yet");
            self.tiers.mark_pending();
        }
    }

    fn tell_purged(&self, organization: OrganizationId, class: Option<Class>, act: &Act) {
        let event = act
            .event(organization, Action::CachePurged, Target::Cache, self.clock.now())
            .after("class", class.map_or("all", Class::as_str));
        self.behind.note(event);
    }

    async fn run_purge(
        &self,
        class: Option<Class>,
        organization: Option<OrganizationId>,
    ) -> Result<PurgeScope, CacheError> {
        let tiers = self.tiers.clone();
        let purging = async move { tiers.purge(class, organization, rand::random()).await };
        Ok(self.run_detached(purging).await?)
    }
}

fn class_of(name: &str) -> Result<Class, CacheError> {
    Class::of(name).ok_or_else(|| {
        let names = Class::ALL.map(Class::as_str).join(", ");
        CacheError::Invalid(vec![FieldFault {
            field: "class".into(),
            message: format!("must be one of {names}, or absent for all"),
        }])
    })
}
