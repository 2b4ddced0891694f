//! Putting the parts together.

use std::sync::Arc;

use crate::service::{Services, health::Databases};
use crate::{app::AppError, lifecycle::Lifecycle};
use cache::{Tiers, counts::SharedCounts, redis::Redis};
use configuration::Config;
use crypto::{password::PasswordHasher, pseudonym::Pseudonyms, seal::Sealer, signing_keys::SigningKeys};
use domain::clock::Clock;
use gateway::{
    admission::Admission,
    caches::Caches,
    completions::Completions,
    live_calls::LiveCalls,
    models::Models,
    organizations::SettingsReader,
    throttle::{Throttle, ThrottleRules},
    usage::{Usage, journal::Journal},
};
use people::{
    accounts::Accounts,
    activity::ActivityTracker,
    answers::{Answers, spool::Spool},
    api_keys::ApiKeys,
    audit::Audit,
    conversations::Conversations,
    invitations::Invitations,
    organizations::Organizations,
    retention::Retention,
    sessions::{SessionRules, Sessions},
    titles::Titles,
    unknown_credentials::UnknownCredentials,
};
use provider::Registry;
use store::{Database, Replicas, Store, replica::Replica};
use telemetry::{metrics::REFUSALS, traces::Traces};

/// The caches, over Redis where there is one.
pub fn caches(
    config: &Config,
    redis: Option<Redis>,
    keys: &SigningKeys,
    clock: &Clock,
    lifecycle: &Lifecycle,
) -> Result<Caches, AppError> {
    let tiers = Tiers::new(
        redis,
        sealer(keys)?,
        config.auth.lookup_ttl,
        clock.clone(),
        rand::random(),
        lifecycle.detached.clone(),
    );
    Ok(Caches::new(tiers, &config.cache, clock.clone()))
}

/// For what the caches leave in Redis. Derived from the signing secrets, so that they are exchanged together.
pub(super) fn sealer(keys: &SigningKeys) -> Result<Sealer, AppError> {
    Sealer::new("mapleai cache v1", keys.secrets()).map_err(|_| AppError::Sealer)
}

/// Every service over one database and one set of providers. With a journal, usage records outlive the process.
#[expect(clippy::too_many_arguments, reason = "the composition root has all there is")]
pub fn services(
    config: &Config,
    databases: &Databases,
    signing_keys: &SigningKeys,
    caches: &Caches,
    registry: Arc<Registry>,
    clock: &Clock,
    lifecycle: &Lifecycle,
    traces: Option<Traces>,
    journal: Option<Journal>,
) -> Result<Services, AppError> {
    let replica = |wanted| {
        let found = databases.replicas.iter().find(|replica| replica.role() == wanted);
        found.cloned()
    };
    let replicas = Replicas {
        analytics: replica("analytics"),
        reporting: replica("reporting"),
    };
    let store = Store::new(&databases.primary, &replicas);
    let auth = &config.auth;
    let rules = SessionRules {
        signing_keys,
        access_token_ttl: auth.access_token_ttl,
        session_ttl: auth.session_ttl,
        confirmation_ttl: auth.confirmation_ttl,
        max_per_person: config.limits.sessions_per_person,
    };
    let activity = ActivityTracker::new(store.accounts.clone(), store.analytics, clock.clone());
    let unknown = UnknownCredentials::new(auth.throttle_per_address, auth.throttle_window);
    let live = LiveCalls::default();
    let sessions = Sessions::new(
        store.sessions,
        activity.clone(),
        caches.clone(),
        clock.clone(),
        unknown.clone(),
        live.clone(),
        &rules,
    );
    let hasher = PasswordHasher::new(
        auth.argon2_memory_kib,
        auth.argon2_iterations,
        auth.password_hash_concurrency,
        metrics::counter!(REFUSALS, "reason" => "busy"),
    )?;
    let throttle = Throttle::new(
        ThrottleRules {
            per_account: auth.throttle_per_account,
            per_address: auth.throttle_per_address,
            window: auth.throttle_window,
            sign_ins: auth.throttle_sign_ins,
        },
        SharedCounts::new(caches.tiers.redis().cloned()),
    );
    let api_keys = ApiKeys::new(
        store.api_keys,
        activity.clone(),
        caches.clone(),
        clock.clone(),
        unknown.clone(),
        live.clone(),
        config.limits,
    );
    let accounts_store = store.accounts.clone();
    let accounts = Accounts::new(
        store.accounts,
        sessions.clone(),
        api_keys.clone(),
        caches.clone(),
        hasher,
        throttle,
        Pseudonyms::new(&signing_keys.active.secret),
        clock.clone(),
        auth.open_registration,
        auth.password_min_length,
        config.retention.organization_grace,
    );
    let audit = Audit::new(
        store.audit,
        accounts_store.clone(),
        caches.behind.clone(),
        clock.clone(),
    );
    let retention = Retention::new(
        store.retention,
        accounts_store,
        sessions.clone(),
        api_keys.clone(),
        clock.clone(),
        config.retention.clone(),
    );
    let invitations = Invitations::new(
        store.invitations,
        accounts.clone(),
        unknown,
        config.limits,
        clock.clone(),
        auth.invitation_ttl,
    );
    let usage = Usage::new(
        store.usage,
        caches.clone(),
        clock.clone(),
        config.usage.queue_capacity,
        config.usage.batch_size,
        journal,
    );
    let organizations = Organizations::new(store.organizations.clone(), caches.clone(), clock.clone());
    let models = Models::new(Arc::clone(&registry));
    let registry_for_titles = Arc::clone(&registry);
    let completions = Completions::new(
        registry,
        Admission::new(&config.admission),
        usage.clone(),
        SettingsReader::new(store.organizations, caches.clone()),
        caches.clone(),
        usize::try_from(config.cache.answer_max_bytes).unwrap_or(usize::MAX),
        traces,
        clock.clone(),
        lifecycle.end_streams.clone(),
        lifecycle.detached.clone(),
        live,
    );
    let conversations = Conversations::new(
        store.conversations,
        store.messages.clone(),
        models.clone(),
        caches.clone(),
        clock.clone(),
        config.limits,
    );
    let titles = Titles::new(
        registry_for_titles,
        conversations.clone(),
        config.local.titles,
        lifecycle.background.clone(),
        lifecycle.stop_tasks.clone(),
    );
    let answers = Answers::new(
        completions.clone(),
        conversations.clone(),
        store.messages,
        models.clone(),
        titles,
        answer_spool(config, signing_keys),
        clock.clone(),
        lifecycle.detached.clone(),
    );
    Ok(Services {
        accounts,
        answers,
        api_keys,
        audit,
        activity,
        caches: caches.clone(),
        completions,
        conversations,
        invitations,
        models,
        organizations,
        retention,
        sessions,
        usage,
    })
}

/// Beside the usage journal, where there is one.
fn answer_spool(config: &Config, signing_keys: &SigningKeys) -> Option<Spool> {
    let journal = config.usage.journal_dir.as_deref()?;
    let sealer = Sealer::new("mapleai answers v1", signing_keys.secrets());
    sealer.map(|sealer| Spool::new(journal, sealer)).ok()
}

/// On a thread of its own: the exporter's blocking client must not be made in a runtime.
pub(super) fn exporter(config: &Config) -> Result<Option<Traces>, AppError> {
    let config = config.traces.clone();
    let made = std::thread::spawn(move || Traces::new(&config)).join();
    made.unwrap_or(Ok(None)).map_err(AppError::from)
}

/// The primary and whatever replicas are configured.
pub(super) fn databases(config: &Config, primary: &Database) -> Result<Databases, AppError> {
    let settings = &config.database;
    let configured = [
        ("analytics", &settings.analytics_url),
        ("reporting", &settings.reporting_url),
    ];
    let mut replicas = Vec::new();
    for (role, url) in configured {
        if let Some(url) = url {
            let database = Database::replica(settings, url)?;
            replicas.push(Replica::new(role, database, settings.replica_max_lag));
        }
    }
    Ok(Databases {
        primary: primary.clone(),
        replicas,
    })
}
