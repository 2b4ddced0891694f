//! The secrets that sign, as they change while people are signed in.
//!
//! Instances do not learn of a change at the same moment: a mounted file reaches each in its own minute. So a new secret
//! verifies at once and signs only after [`SPREAD`], when the others know it too; and what it replaced verifies for as
//! long as something signed with it may be shown. A key that is taken out altogether is meant to be gone, at once.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};

/// From a secret's arrival in one instance until all have it. A kubelet looks at mounted secrets about once a minute.
pub const SPREAD: Duration = Duration::from_mins(2);

/// A secret and its name, the `kid` of a token.
#[derive(Clone)]
pub struct NamedKey {
    pub kid: String,
    pub secret: SecretString,
}

/// What signs now and what is believed now; of two with one name the first is newer.
#[derive(Clone)]
pub struct SigningKeys {
    pub active: NamedKey,
    pub verifying: Vec<NamedKey>,
}

impl SigningKeys {
    /// Those of a configuration that has not changed yet; nothing if no key is named `active`.
    pub fn new(keys: &BTreeMap<String, SecretString>, active: &str) -> Option<Self> {
        let verifying: Vec<NamedKey> = keys
            .iter()
            .map(|(kid, secret)| NamedKey {
                kid: kid.clone(),
                secret: secret.clone(),
            })
            .collect();
        let active = verifying.iter().find(|key| key.kid == active)?.clone();
        Some(Self { active, verifying })
    }

    /// The one that signs first, then the others.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretString> {
        std::iter::once(&self.active.secret).chain(self.verifying.iter().map(|key| &key.secret))
    }
}

/// Keeps track of the keys through changes of the configuration.
pub struct KeyRing {
    current: SigningKeys,
    /// Signs until the new one is known everywhere.
    before: Option<(NamedKey, DateTime<Utc>)>,
    retired: Vec<(NamedKey, DateTime<Utc>)>,
    /// How long something signed may be shown.
    lifetime: Duration,
}

impl KeyRing {
    pub fn new(current: SigningKeys, lifetime: Duration) -> Self {
        Self {
            current,
            before: None,
            retired: Vec::new(),
            lifetime,
        }
    }

    /// Takes up what is configured now.
    pub fn take_up(&mut self, configured: SigningKeys, now: DateTime<Utc>) {
        let until = now + SPREAD + self.lifetime;
        let signing = self.signing(now).clone();
        for old in &self.current.verifying {
            let replaced = configured.verifying.iter().find(|key| key.kid == old.kid);
            if replaced.is_some_and(|new| !is_same(new, old)) {
                self.retired.push((old.clone(), until));
            }
        }
        // What is no longer there under any name is not to be believed, not even for signing on.
        let remains = configured.verifying.iter().any(|key| key.kid == signing.kid);
        self.before = (remains && !is_same(&configured.active, &signing)).then(|| (signing, now + SPREAD));
        self.retired
            .retain(|(old, _)| configured.verifying.iter().any(|key| key.kid == old.kid));
        self.current = configured;
    }

    /// What holds at `now`.
    pub fn at(&mut self, now: DateTime<Utc>) -> SigningKeys {
        if self.before.as_ref().is_some_and(|(_, until)| *until <= now) {
            self.before = None;
        }
        self.retired.retain(|(_, until)| *until > now);
        let retired = self.retired.iter().map(|(key, _)| key.clone());
        SigningKeys {
            active: self.signing(now).clone(),
            verifying: self.current.verifying.iter().cloned().chain(retired).collect(),
        }
    }

    /// Whether [`Self::at`] still changes as time passes.
    pub fn is_changing(&self) -> bool {
        self.before.is_some() || !self.retired.is_empty()
    }

    fn signing(&self, now: DateTime<Utc>) -> &NamedKey {
        match &self.before {
            Some((key, until)) if *until > now => key,
            _ => &self.current.active,
        }
    }
}

/// Both come from our own configuration, so that comparing them tells nobody anything.
fn is_same(one: &NamedKey, other: &NamedKey) -> bool {
    one.kid == other.kid && one.secret.expose_secret() == other.secret.expose_secret()
}

#[cfg(test)]
mod tests {
    use super::{KeyRing, SPREAD, SigningKeys};
    use crate::access_token::AccessTokens;
    use chrono::TimeDelta;
    use domain::clock::Clock;
    use std::time::Duration;
    use uuid::Uuid;

    const TTL: Duration = Duration::from_mins(15);

    fn keys(secrets: &[(&str, &str)], active: &str) -> SigningKeys {
        let keys = secrets
            .iter()
            .map(|(kid, secret)| ((*kid).to_owned(), secret.repeat(32).into()))
            .collect();
        SigningKeys::new(&keys, active).unwrap()
    }

    #[test]
    fn a_secret_replaced_under_its_name_signs_nobody_out_in_any_instance() {
        let now = Clock::system().now();
        let id = Uuid::now_v7();
        let (old, new) = (keys(&[("a", "o")], "a"), keys(&[("a", "n")], "a"));
        let slow = AccessTokens::new(&old, TTL);
        let before = slow.issue(id, id, id, now).unwrap();
        let mut ring = KeyRing::new(old, TTL);
        ring.take_up(new.clone(), now);
        let during = AccessTokens::new(&ring.at(now), TTL);
        assert!(during.verify(&before, now).is_ok(), "the old one's tokens hold");
        let signed = during.issue(id, id, id, now).unwrap();
        assert!(
            slow.verify(&signed, now).is_ok(),
            "an instance that does not know yet believes it"
        );
        let later = now + SPREAD;
        let after = AccessTokens::new(&ring.at(later), TTL);
        let signed_last = during.issue(id, id, id, later - TimeDelta::seconds(1)).unwrap();
        let signed = after.issue(id, id, id, later).unwrap();
        assert!(
            AccessTokens::new(&new, TTL).verify(&signed, later).is_ok(),
            "the new one signs"
        );
        let end = later + TimeDelta::seconds(898);
        assert!(AccessTokens::new(&ring.at(end), TTL).verify(&signed_last, end).is_ok());
        assert!(ring.is_changing());
        let gone = later + TimeDelta::seconds(900);
        assert_eq!(ring.at(gone).verifying.len(), 1);
        assert!(!ring.is_changing());
    }

    #[test]
    fn another_key_becomes_active_later_and_a_removed_one_is_gone_at_once() {
        let now = Clock::system().now();
        let mut ring = KeyRing::new(keys(&[("a", "o")], "a"), TTL);
        ring.take_up(keys(&[("a", "o"), ("b", "n")], "b"), now);
        assert_eq!(ring.at(now).active.kid, "a");
        assert_eq!(ring.at(now + SPREAD).active.kid, "b");
        ring.take_up(keys(&[("a", "o"), ("b", "m")], "b"), now + SPREAD);
        assert_eq!(ring.at(now + SPREAD).verifying.len(), 3);
        ring.take_up(keys(&[("c", "x")], "c"), now + SPREAD);
        let left = ring.at(now + SPREAD);
        assert_eq!((left.active.kid.as_str(), left.verifying.len()), ("c", 1));
    }
}
