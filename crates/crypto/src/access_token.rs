//! Access tokens: short-lived JWTs (RFC 7519) signed with HMAC-SHA-256 under a named key.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::signing_keys::SigningKeys;

const ISSUER: &str = "mapleai";

/// What a token says. The role is not in it: it is looked up with the session, so that a change takes effect at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub iss: String,
    /// User id.
    pub sub: Uuid,
    /// Organisation id.
    pub org: Uuid,
    /// Session id.
    pub sid: Uuid,
    pub iat: i64,
    pub exp: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum AccessTokenError {
    #[error("the access token is malformed or its signature is wrong")]
    Invalid(#[source] jsonwebtoken::errors::Error),
    #[error("the access token is signed with a key this server does not have")]
    UnknownKey,
    #[error("the access token has expired")]
    Expired,
    #[error("the access token could not be signed")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

/// Signs with one key and verifies with all, so that keys rotate with nobody signed out.
#[derive(Clone)]
pub struct AccessTokens {
    active: (String, EncodingKey),
    /// By name, the newest first.
    verifying: BTreeMap<String, Vec<DecodingKey>>,
    validation: Validation,
    ttl: Duration,
}

impl AccessTokens {
    pub fn new(keys: &SigningKeys, ttl: Duration) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        // Expiry is judged by the clock that was passed in, not by the library's.
        validation.validate_exp = false;
        let mut verifying: BTreeMap<String, Vec<DecodingKey>> = BTreeMap::new();
        for key in &keys.verifying {
            let secret = DecodingKey::from_secret(key.secret.expose_secret().as_bytes());
            verifying.entry(key.kid.clone()).or_default().push(secret);
        }
        Self {
            active: (
                keys.active.kid.clone(),
                EncodingKey::from_secret(keys.active.secret.expose_secret().as_bytes()),
            ),
            verifying,
            validation,
            ttl,
        }
    }

    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// A token for one session of one user.
    pub fn issue(
        &self,
        user: Uuid,
        organization: Uuid,
        session: Uuid,
        now: DateTime<Utc>,
    ) -> Result<String, AccessTokenError> {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(self.active.0.clone());
        let iat = now.timestamp();
        let exp = iat.saturating_add_unsigned(self.ttl.as_secs());
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: user,
            org: organization,
            sid: session,
            iat,
            exp,
        };
        encode(&header, &claims, &self.active.1).map_err(AccessTokenError::Sign)
    }

    /// The claims of a token that we signed and that has not expired.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Claims, AccessTokenError> {
        let kid = decode_header(token)
            .map_err(AccessTokenError::Invalid)?
            .kid
            .ok_or(AccessTokenError::UnknownKey)?;
        let keys = self.verifying.get(&kid).ok_or(AccessTokenError::UnknownKey)?;
        let mut outcome = Err(AccessTokenError::UnknownKey);
        for key in keys {
            outcome = decode::<Claims>(token, key, &self.validation).map_err(AccessTokenError::Invalid);
            if outcome.is_ok() {
                break;
            }
        }
        let claims = outcome?.claims;
        if claims.exp <= now.timestamp() {
            return Err(AccessTokenError::Expired);
        }
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::{AccessTokenError, AccessTokens};
    use crate::signing_keys::SigningKeys;
    use chrono::TimeDelta;
    use domain::clock::Clock;
    use std::{collections::BTreeMap, time::Duration};
    use uuid::Uuid;

    fn keys(names: &[&str], active: &str) -> SigningKeys {
        let keys = names
            .iter()
            .map(|name| ((*name).to_owned(), name.repeat(32).into()))
            .collect();
        SigningKeys::new(&keys, active).unwrap()
    }

    #[test]
    fn rotation_keeps_old_tokens_and_expiry_ends_them() {
        let ttl = Duration::from_mins(15);
        let now = Clock::system().now();
        let before = AccessTokens::new(&keys(&["a"], "a"), ttl);
        let after = AccessTokens::new(&keys(&["a", "b"], "b"), ttl);
        let gone = AccessTokens::new(&keys(&["b"], "b"), ttl);
        let (user, org, session) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
        let token = before.issue(user, org, session, now).unwrap();
        let claims = after.verify(&token, now).unwrap();
        assert_eq!((claims.sub, claims.org, claims.sid), (user, org, session));
        assert!(matches!(gone.verify(&token, now), Err(AccessTokenError::UnknownKey)));
        assert!(matches!(
            after.verify(&token, now + TimeDelta::seconds(900)),
            Err(AccessTokenError::Expired)
        ));
        assert!(after.verify(&token, now + TimeDelta::seconds(899)).is_ok());
        let absent = BTreeMap::from([("a".to_owned(), "a".repeat(32).into())]);
        assert!(SigningKeys::new(&absent, "zz").is_none());
    }

    #[test]
    fn refuses_forgeries() {
        let tokens = AccessTokens::new(&keys(&["a"], "a"), Duration::from_mins(15));
        let theirs = BTreeMap::from([("a".to_owned(), "z".repeat(32).into())]);
        let other = AccessTokens::new(&SigningKeys::new(&theirs, "a").unwrap(), Duration::from_mins(15));
        let id = Uuid::now_v7();
        let forged = other.issue(id, id, id, Clock::system().now()).unwrap();
        // {"alg":"none","kid":"a"} with an empty signature.
        let none = "eyJhbGciOiJub25lIiwia2lkIjoiYSJ9.e30.";
        for bad in [forged.as_str(), none, "", "a.b.c", "x"] {
            assert!(tokens.verify(bad, Clock::system().now()).is_err(), "{bad}");
        }
    }
}
