//! Argon2id, off the async workers and a bounded number at a time: each hash takes memory and tens of milliseconds.

use std::{sync::Arc, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use concurrency::fair_queue::{FairQueue, QueuePermit};
use domain::{network::Network, password::normalize};
use metrics::Counter;
use secrecy::{ExposeSecret, SecretString};

/// Passwords that wait to be hashed. Networks are served in rotation, so that a network with many requests delays only itself.
const MAX_WAITING: usize = 256;
/// Longest wait for a hashing slot; sign-in under attack answers "busy" instead of queueing.
const MAX_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("too many passwords are being checked at once")]
    Busy,
    #[error("the password could not be hashed")]
    Hash(#[from] argon2::password_hash::Error),
    #[error("invalid argon2 parameters")]
    Parameters(#[from] argon2::Error),
    #[error("the hashing task failed")]
    Task(#[from] tokio::task::JoinError),
}

/// Hashes and verifies passwords with one set of parameters.
#[derive(Clone)]
pub struct PasswordHasher {
    argon2: Argon2<'static>,
    hashing: FairQueue<Network>,
    /// Registrations may use all hashing slots but one, so a flood of them cannot starve sign-ins.
    registrations: FairQueue<Network>,
    busy: Counter,
    /// Verified against when there is no such account, so that its absence does not show in the time taken.
    decoy: Arc<str>,
}

impl PasswordHasher {
    /// `memory_kib` and `iterations` as OWASP's password storage guide names them; one lane.
    /// `busy` counts refused requests.
    pub fn new(memory_kib: u32, iterations: u32, concurrency: usize, busy: Counter) -> Result<Self, PasswordError> {
        let params = Params::new(memory_kib, iterations, 1, None)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        // Written rather than computed: checking against it costs the same, and a process that starts need not fill
        // argon2's memory, which the allocator would keep.
        let (salt, output) = ("A".repeat(22), "A".repeat(43));
        let decoy = format!("$argon2id$v=19$m={memory_kib},t={iterations},p=1${salt}${output}").into();
        Ok(Self {
            argon2,
            hashing: FairQueue::new(concurrency, MAX_WAITING),
            registrations: FairQueue::new(concurrency.saturating_sub(1), MAX_WAITING),
            busy,
            decoy,
        })
    }

    /// A PHC string with a random salt, for a request from `from`.
    pub async fn hash(&self, password: SecretString, from: Network) -> Result<String, PasswordError> {
        let argon2 = self.argon2.clone();
        self.run_queued(from, move || hash(&argon2, &password)).await
    }

    /// The same for a registration, queued behind the other registrations.
    pub async fn hash_registration(&self, password: SecretString, from: Network) -> Result<String, PasswordError> {
        // Held until the hash is done, which goes on after the caller has disconnected.
        let permit = self.acquire(&self.registrations, from).await?;
        let argon2 = self.argon2.clone();
        self.run_queued(from, move || {
            let _permit = permit;
            hash(&argon2, &password)
        })
        .await
    }

    /// Whether `password` is the one `hash` was made from; with no hash it takes as long and is false.
    pub async fn verify(
        &self,
        password: SecretString,
        hash: Option<String>,
        from: Network,
    ) -> Result<bool, PasswordError> {
        Ok(self.check(password, hash, from).await? != Verdict::Wrong)
    }

    /// The same, and whether the hash should be replaced by one of now.
    pub async fn check(
        &self,
        password: SecretString,
        hash: Option<String>,
        from: Network,
    ) -> Result<Verdict, PasswordError> {
        let argon2 = self.argon2.clone();
        let decoy = Arc::clone(&self.decoy);
        self.run_queued(from, move || {
            let stored =
                PasswordHash::new(hash.as_deref().unwrap_or(&decoy)).map_err(argon2::password_hash::Error::from)?;
            let matches = |password: &str| argon2.verify_password(password.as_bytes(), &stored).is_ok();
            let typed = password.expose_secret();
            let normalized = normalize(typed);
            let verdict = if matches(&normalized) {
                if is_weaker(&stored, argon2.params()) {
                    Verdict::Outdated
                } else {
                    Verdict::Right
                }
            // Hashed by a release that took passwords as they were typed.
            } else if normalized != typed && matches(typed) {
                Verdict::Outdated
            } else {
                Verdict::Wrong
            };
            Ok(if hash.is_some() { verdict } else { Verdict::Wrong })
        })
        .await
    }

    async fn acquire(&self, queue: &FairQueue<Network>, from: Network) -> Result<QueuePermit<Network>, PasswordError> {
        queue.acquire(from, MAX_WAIT).await.map_err(|_| {
            self.busy.increment(1);
            PasswordError::Busy
        })
    }

    async fn run_queued<T: Send + 'static>(
        &self,
        from: Network,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let permit = self.acquire(&self.hashing, from).await?;
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        })
        .await?
    }
}

/// The result of checking a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Wrong,
    Right,
    /// Right, but hashed at a lower cost than is asked for by now, or in another way.
    Outdated,
}

fn hash(argon2: &Argon2<'_>, password: &SecretString) -> Result<String, PasswordError> {
    let password = normalize(password.expose_secret());
    Ok(argon2.hash_password(password.as_bytes())?.to_string())
}

/// Whether a hash costs less to try than these parameters make it.
fn is_weaker(stored: &PasswordHash, wanted: &Params) -> bool {
    Params::try_from(stored).is_ok_and(|used| used.m_cost() < wanted.m_cost() || used.t_cost() < wanted.t_cost())
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::PasswordHasher;
    use domain::network::Network;

    fn here() -> Network {
        Network::of("192.0.2.1".parse().unwrap())
    }

    /// Hashing is slow enough that later requests have to wait; the test checks the order.
    #[tokio::test]
    async fn a_sign_in_does_not_wait_for_all_registrations() {
        let hasher = PasswordHasher::new(4_096, 1, 2, metrics::Counter::noop()).unwrap();
        let registered = Arc::new(AtomicUsize::new(0));
        let tasks = tokio_util::task::TaskTracker::new();
        for _ in 0..40 {
            let (hasher, registered) = (hasher.clone(), Arc::clone(&registered));
            tasks.spawn(async move {
                hasher.hash_registration("correct horse".into(), here()).await.unwrap();
                registered.fetch_add(1, Ordering::Relaxed);
            });
        }
        tokio::task::yield_now().await;
        hasher.verify("no such account".into(), None, here()).await.unwrap();
        let before = registered.load(Ordering::Relaxed);
        assert!(before < 10, "{before} went first");
    }

    #[tokio::test]
    async fn verifies_its_own_and_nothing_else() {
        let hasher = PasswordHasher::new(64, 1, 2, metrics::Counter::noop()).unwrap();
        let hash = hasher.hash("correct horse".into(), here()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
        assert!(
            hasher
                .verify("correct horse".into(), Some(hash.clone()), here())
                .await
                .unwrap()
        );
        assert!(!hasher.verify("correct horsf".into(), Some(hash), here()).await.unwrap());
        assert!(
            !hasher
                .verify("no account has this password".into(), None, here())
                .await
                .unwrap()
        );
    }

    /// However many sign in from one network, somebody from another waits for those who have their turn, and one more.
    #[tokio::test]
    async fn a_network_that_sends_many_waits_behind_its_own() {
        let hasher = PasswordHasher::new(4_096, 1, 1, metrics::Counter::noop()).unwrap();
        let checked = Arc::new(AtomicUsize::new(0));
        let tasks = tokio_util::task::TaskTracker::new();
        for _ in 0..40 {
            let (hasher, checked) = (hasher.clone(), Arc::clone(&checked));
            tasks.spawn(async move {
                hasher.verify("correct horse".into(), None, here()).await.unwrap();
                checked.fetch_add(1, Ordering::Relaxed);
            });
        }
        tokio::task::yield_now().await;
        let elsewhere = Network::of("192.0.2.2".parse().unwrap());
        hasher.verify("correct horse".into(), None, elsewhere).await.unwrap();
        let before = checked.load(Ordering::Relaxed);
        assert!(before <= 3, "{before} went first");
    }
}
