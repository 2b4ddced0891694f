//! Secrets that change while the service runs: read again from the files that variables name, and taken up with no request
//! failed and no restart.
//!
//! What is not a secret, or not one that can be exchanged, waits for the next start, and the log says so.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use metrics::counter;
use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;

use crate::{app::build, auth::authenticator::Authenticator};
use cache::{Tiers, redis::Redis};
use configuration::{Config, load::Sources};
use crypto::{
    csrf::CsrfSigner,
    signing_keys::{KeyRing, SigningKeys},
};
use domain::clock::Clock;
use people::sessions::Sessions;
use provider::Registry;
use store::{Database, replica::Replica};
use telemetry::{error_chain, metrics::SECRET_ROTATIONS};

/// Files are read this often. They are small, and few.
const INTERVAL: Duration = Duration::from_secs(1);

/// What holds a secret.
pub struct Holders {
    pub primary: Database,
    pub replicas: Vec<Replica>,
    pub redis: Option<Redis>,
    pub tiers: Tiers,
    pub registry: Arc<Registry>,
    pub sessions: Sessions,
    pub authenticator: Authenticator,
}

/// Watches the files of secrets.
pub struct Rotation {
    sources: Sources,
    files: Vec<PathBuf>,
    holders: Holders,
    /// In effect now.
    config: Config,
    keys: KeyRing,
    clock: Clock,
    /// Digest of the files as they were last taken up, or found wanting.
    settled: Option<blake3::Hash>,
    refused: Option<blake3::Hash>,
}

impl Rotation {
    /// `config` is what the holders were made with.
    pub fn new(sources: Sources, holders: Holders, config: Config, keys: KeyRing, clock: Clock) -> Self {
        let files = sources.secret_files();
        Self {
            settled: Some(digest(&files)),
            refused: None,
            sources,
            files,
            holders,
            config,
            keys,
            clock,
        }
    }

    /// Looks until told to stop. Ends at once where no variable names a file.
    pub async fn watch(mut self, stop: CancellationToken) {
        if self.files.is_empty() {
            return;
        }
        while stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
            self.look().await;
        }
    }

    async fn look(&mut self) {
        if self.keys.is_changing() {
            self.sign();
        }
        let files = self.files.clone();
        let Ok(now) = tokio::task::spawn_blocking(move || digest(&files)).await else {
            return;
        };
        if self.settled == Some(now) {
            return;
        }
        match self.take_up().await {
            Ok(changed) => {
                self.settled = Some(now);
                self.refused = None;
                for key in changed {
                    counter!(SECRET_ROTATIONS, "outcome" => "applied").increment(1);
                    tracing::warn!(target: "mapleai::security", event = "secret_rotated", key, "a secret was taken up from its file");
                }
            }
            // Tried again at every look: the database may not know its new password yet. Told once for each change.
            Err(problem) => {
                if self.refused.replace(now) != Some(now) {
                    counter!(SECRET_ROTATIONS, "outcome" => "refused").increment(1);
                    tracing::error!(target: "mapleai::security", event = "secret_refused", problem, "secrets in files have changed and cannot be taken up; going on with those in use");
                }
            }
        }
    }

    /// The names of the keys that have changed, or why they cannot be taken up. What could be stays taken up.
    async fn take_up(&mut self) -> Result<Vec<String>, String> {
        let sources = self.sources.clone();
        let loaded = tokio::task::spawn_blocking(move || Config::load(&sources)).await;
        let new = match loaded {
            Ok(Ok(config)) => config,
            Ok(Err(faults)) => return Err(faults.to_string()),
            Err(error) => return Err(error.to_string()),
        };
        let mut changed = Vec::new();
        self.signing_keys(&new, &mut changed);
        self.providers(&new, &mut changed)?;
        self.databases(&new, &mut changed).await?;
        self.redis(&new, &mut changed).await?;
        Ok(changed)
    }

    fn signing_keys(&mut self, new: &Config, changed: &mut Vec<String>) {
        let (old, auth) = (&self.config.auth, &new.auth);
        let keys_differ = old.active_key != auth.active_key
            || old.signing_keys.len() != auth.signing_keys.len()
            || auth
                .signing_keys
                .iter()
                .any(|(name, secret)| differs(old.signing_keys.get(name), Some(secret)));
        let token_differs = differs(self.config.server.ops_token.as_ref(), new.server.ops_token.as_ref());
        if keys_differ && let Some(configured) = SigningKeys::new(&auth.signing_keys, &auth.active_key) {
            self.keys.take_up(configured, self.clock.now());
            changed.push("auth.signing_keys".to_owned());
        }
        if token_differs {
            changed.push("server.ops_token".to_owned());
        }
        self.config.auth = new.auth.clone();
        self.config.server.ops_token.clone_from(&new.server.ops_token);
        if keys_differ || token_differs {
            self.sign();
        }
    }

    /// Hands out the keys that hold now.
    fn sign(&mut self) {
        let keys = self.keys.at(self.clock.now());
        self.holders.sessions.rotate(&keys);
        // Never fails where it has not failed at the start; entries are then a miss for the new secret's instances.
        if let Ok(sealer) = build::sealer(&keys) {
            self.holders.tiers.rotate(sealer);
        }
        let csrf = CsrfSigner::new(keys.secrets());
        self.holders
            .authenticator
            .rotate(csrf, self.config.server.ops_token.clone());
    }

    fn providers(&mut self, new: &Config, changed: &mut Vec<String>) -> Result<(), String> {
        let mut any = false;
        for (name, provider) in &new.providers {
            let Some(old) = self.config.providers.get(name) else {
                continue;
            };
            let headers_differ = provider
                .headers
                .iter()
                .any(|(header, value)| differs(old.headers.get(header), Some(value)));
            if headers_differ || differs(old.api_key.as_ref(), provider.api_key.as_ref()) {
                changed.push(format!("providers.{name}.api_key"));
                any = true;
            }
        }
        if any {
            self.holders
                .registry
                .rotate(&new.providers)
                .map_err(|error| error.to_string())?;
            self.config.providers.clone_from(&new.providers);
        }
        Ok(())
    }

    async fn databases(&mut self, new: &Config, changed: &mut Vec<String>) -> Result<(), String> {
        let refused = |key: &str, error: &dyn std::error::Error| format!("{key}: {}", error_chain(error));
        if differs(Some(&self.config.database.url), Some(&new.database.url)) {
            let rotated = self.holders.primary.rotate(&new.database.url).await;
            rotated.map_err(|error| refused("database.url", &error))?;
            self.config.database.url = new.database.url.clone();
            changed.push("database.url".to_owned());
        }
        for replica in &self.holders.replicas {
            let role = replica.role();
            let (old, url) = match role {
                "analytics" => (&mut self.config.database.analytics_url, &new.database.analytics_url),
                _ => (&mut self.config.database.reporting_url, &new.database.reporting_url),
            };
            if let Some(url) = url
                && differs(old.as_ref(), Some(url))
            {
                let rotated = replica.database().rotate(url).await;
                rotated.map_err(|error| refused(&format!("database.{role}_url"), &error))?;
                *old = Some(url.clone());
                changed.push(format!("database.{role}_url"));
            }
        }
        Ok(())
    }

    async fn redis(&mut self, new: &Config, changed: &mut Vec<String>) -> Result<(), String> {
        let (Some(redis), Some(url)) = (&self.holders.redis, new.redis.in_use()) else {
            return Ok(());
        };
        if differs(self.config.redis.url.as_ref(), Some(url)) {
            let rotated = redis.rotate(url, new.redis.mode).await;
            rotated.map_err(|error| format!("redis.url: {}", error_chain(&error)))?;
            self.config.redis.url = Some(url.clone());
            changed.push("redis.url".to_owned());
        }
        Ok(())
    }
}

/// Both come from our own files, so that comparing them tells nobody anything.
fn differs(old: Option<&SecretString>, new: Option<&SecretString>) -> bool {
    old.map(SecretString::expose_secret) != new.map(SecretString::expose_secret)
}

/// Of all files, absent ones included. Platforms exchange a whole folder of them by one link, so that half a change is rare;
/// it is refused as a fault and looked at again.
fn digest(files: &[PathBuf]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for file in files {
        match fs::read(file) {
            Ok(content) => {
                hasher.update(&[1]).update(blake3::hash(&content).as_bytes());
            }
            Err(_) => {
                hasher.update(&[0]);
            }
        }
    }
    hasher.finalize()
}
