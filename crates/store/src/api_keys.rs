//! API keys of programs.

use chrono::{DateTime, Utc};

use sqlx::Connection;

use super::{
    Database, StoreError, audit,
    limits::{self, LimitReached, Limited},
    timed_query,
};
use configuration::LimitsConfig;
use crypto::secret::Digest;
use domain::{
    account::{ApiKey, KeyOwner},
    audit::{Act, Action, Target},
    ids::{ApiKeyId, OrganizationId, UserId},
    page::{Cursor, Page, PageRequest},
};

#[derive(Clone)]
pub struct ApiKeys(pub(super) Database);

struct KeyRow {
    id: uuid::Uuid,
    name: String,
    prefix: String,
    user_id: uuid::Uuid,
    user_name: String,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
}

impl From<KeyRow> for ApiKey {
    fn from(row: KeyRow) -> Self {
        Self {
            id: row.id.into(),
            name: row.name,
            prefix: row.prefix,
            maker: row.user_id.into(),
            maker_name: row.user_name,
            created_at: row.created_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
        }
    }
}

/// A key to insert.
pub struct NewKey<'a> {
    pub id: ApiKeyId,
    pub name: &'a str,
    pub prefix: &'a str,
    pub digest: &'a Digest,
    pub expires_at: Option<DateTime<Utc>>,
}

/// A key that is no longer good: what it is found by, and what ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevokedKey {
    pub id: ApiKeyId,
    pub digest: Digest,
}

/// One, and when it was revoked.
#[derive(Debug, Clone, Copy)]
pub struct Revocation {
    pub key: RevokedKey,
    pub at: DateTime<Utc>,
}

impl RevokedKey {
    pub(super) fn new((id, digest): (uuid::Uuid, Vec<u8>)) -> Result<Self, StoreError> {
        Ok(Self {
            id: id.into(),
            digest: Digest::try_from(digest.as_slice()).map_err(StoreError::corrupt)?,
        })
    }
}

impl ApiKeys {
    /// Makes a key of one user, whose name is given; `None` if the user was removed meanwhile.
    pub async fn create(
        &self,
        organization: OrganizationId,
        user: UserId,
        new: &NewKey<'_>,
        limits: &LimitsConfig,
        act: &Act,
        now: DateTime<Utc>,
    ) -> Result<Result<Option<String>, LimitReached>, StoreError> {
        let mut connection = self.0.checkout().await?;
        let outcome = self.0.limit(async {
            let mut transaction = connection.get().begin().await?;
            limits::lock(&mut transaction, organization, user).await?;
            let (own, all) = limits::keys(&mut transaction, organization, user, now).await?;
            let counted = [
                (Limited::KeysOfPerson, own, limits.keys_per_person),
                (Limited::KeysOfOrganization, all, limits.keys_per_organization),
            ];
            if let Some(reached) = limits::reached(&counted) {
                return Ok(Err(reached));
            }
            let name = sqlx::query_scalar!(
                r#"WITH maker AS (
                       -- The lock makes it wait for a removal that is under way, and the removal for it.
                       SELECT organization_id, id, name FROM users
                       WHERE organization_id = $2 AND id = $3 AND removed_at IS NULL FOR KEY SHARE
                   ), made AS (
                       INSERT INTO api_keys (id, organization_id, user_id, name, prefix, digest, created_at, expires_at)
                       SELECT $1, organization_id, id, $4, $5, $6, $7, $8 FROM maker RETURNING id
                   )
                   SELECT maker.name FROM maker, made"#,
                new.id.0,
                organization.0,
                user.0,
                new.name,
                new.prefix,
                new.digest.as_slice(),
                now,
                new.expires_at
            )
            .fetch_optional(&mut *transaction)
            .await?;
            if name.is_some() {
                let event = act
                    .event(organization, Action::ApiKeyCreated, Target::ApiKey(new.id), now)
                    .after("owner", user.0)
                    .after("expires_at", new.expires_at);
                audit::record(&mut transaction, &event).await?;
            }
            transaction.commit().await?;
            Ok(Ok(name))
        });
        let outcome = outcome.await;
        connection.settle(outcome)
    }

    /// Keys that are not revoked, newest first: those of the user, or of the whole organisation where the user's role, as it is
    /// now, is one of `managing`.
    pub async fn list(
        &self,
        organization: OrganizationId,
        user: UserId,
        managing: &[String],
        page: PageRequest,
    ) -> Result<Page<ApiKey>, StoreError> {
        let after = page.after.unwrap_or(Cursor::END);
        let rows = timed_query!(
            self.0,
            sqlx::query_as!(
                KeyRow,
                "SELECT k.id, k.name, k.prefix, k.user_id, u.name AS user_name, k.created_at, k.expires_at, k.last_used_at
                 FROM api_keys k JOIN users u ON u.organization_id = k.organization_id AND u.id = k.user_id
                 WHERE k.organization_id = $1 AND k.revoked_at IS NULL AND (k.created_at, k.id) < ($4, $5)
                   AND (k.user_id = $2 OR EXISTS (
                       SELECT FROM users m
                       WHERE m.organization_id = $1 AND m.id = $2 AND m.removed_at IS NULL AND m.role = ANY($3)))
                 ORDER BY k.created_at DESC, k.id DESC LIMIT $6",
                organization.0,
                user.0,
                managing,
                after.time(),
                after.id,
                i64::from(page.limit) + 1
            ),
            fetch_all
        )?;
        let rows = rows.into_iter().map(ApiKey::from).collect();
        Ok(Page::cut(rows, page.limit, |key| Cursor {
            micros: key.created_at.timestamp_micros(),
            id: key.id.0,
        }))
    }

    /// Revokes one key of the user, or of anybody in the organisation where the user's role, as it is now, is one of `managing`;
    /// nothing if there is none.
    pub async fn revoke(
        &self,
        organization: OrganizationId,
        user: UserId,
        managing: &[String],
        key: ApiKeyId,
        act: &Act,
        now: DateTime<Utc>,
    ) -> Result<Option<RevokedKey>, StoreError> {
        let mut connection = self.0.checkout().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                let revoked = sqlx::query!(
                    "UPDATE api_keys k SET revoked_at = $5
                     WHERE k.organization_id = $1 AND k.id = $4 AND k.revoked_at IS NULL
                       AND (k.user_id = $2 OR EXISTS (
                           SELECT FROM users m
                           WHERE m.organization_id = $1 AND m.id = $2 AND m.removed_at IS NULL AND m.role = ANY($3)))
                     RETURNING k.digest, k.user_id, k.expires_at",
                    organization.0,
                    user.0,
                    managing,
                    key.0,
                    now
                )
                .fetch_optional(&mut *transaction)
                .await?;
                let Some(revoked) = revoked else {
                    return Ok(None);
                };
                let event = act
                    .event(organization, Action::ApiKeyRevoked, Target::ApiKey(key), now)
                    .before("owner", revoked.user_id)
                    .before("expires_at", revoked.expires_at);
                audit::record(&mut transaction, &event).await?;
                transaction.commit().await?;
                Ok(Some(revoked.digest))
            })
            .await;
        let digest = connection.settle(outcome)?;
        digest.map(|digest| RevokedKey::new((key.0, digest))).transpose()
    }

    /// The owner of a key that is neither revoked nor expired. The key itself is the authority.
    pub async fn find(&self, digest: &Digest, now: DateTime<Utc>) -> Result<Option<KeyOwner>, StoreError> {
        let row = timed_query!(
            self.0,
            sqlx::query!(
                "SELECT id, organization_id, user_id, expires_at FROM api_keys
                 WHERE digest = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)",
                digest.as_slice(),
                now
            ),
            fetch_optional
        )?;
        Ok(row.map(|row| KeyOwner {
            key: row.id.into(),
            organization: row.organization_id.into(),
            user: row.user_id.into(),
            expires_at: row.expires_at,
        }))
    }

    /// Keys that were revoked after `since`, the latest first, at most `limit` of those that come after `last`.
    pub async fn revoked_since(
        &self,
        since: DateTime<Utc>,
        last: Option<Revocation>,
        limit: i64,
    ) -> Result<Vec<Revocation>, StoreError> {
        let (at, id) = last.map_or((Cursor::END.time(), Cursor::END.id), |last| (last.at, last.key.id.0));
        let keys = timed_query!(
            self.0,
            sqlx::query!(
                r#"SELECT id, digest, revoked_at AS "revoked_at!" FROM api_keys
                   WHERE revoked_at > $1 AND (revoked_at, id) < ($2, $3)
                   ORDER BY revoked_at DESC, id DESC LIMIT $4"#,
                since,
                at,
                id,
                limit
            ),
            fetch_all
        )?;
        keys.into_iter()
            .map(|row| {
                let key = RevokedKey::new((row.id, row.digest))?;
                Ok(Revocation {
                    key,
                    at: row.revoked_at,
                })
            })
            .collect()
    }

    /// The keys that were used last, of the organisations that were at work last.
    pub async fn most_used(&self, now: DateTime<Utc>, limit: i64) -> Result<Vec<(Digest, KeyOwner)>, StoreError> {
        let rows = timed_query!(
            self.0,
            sqlx::query!(
                "SELECT digest, id, organization_id, user_id, expires_at FROM api_keys
                 WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1) AND last_used_at IS NOT NULL
                 ORDER BY last_used_at DESC LIMIT $2",
                now,
                limit
            ),
            fetch_all
        )?;
        rows.into_iter()
            .map(|row| {
                let owner = KeyOwner {
                    key: row.id.into(),
                    organization: row.organization_id.into(),
                    user: row.user_id.into(),
                    expires_at: row.expires_at,
                };
                Ok((
                    Digest::try_from(row.digest.as_slice()).map_err(StoreError::corrupt)?,
                    owner,
                ))
            })
            .collect()
    }

    /// Notes when keys were last used, for those not noted later already.
    pub async fn touch(&self, used: &[(ApiKeyId, DateTime<Utc>)]) -> Result<(), StoreError> {
        let ids: Vec<uuid::Uuid> = used.iter().map(|(key, _)| key.0).collect();
        let times: Vec<DateTime<Utc>> = used.iter().map(|(_, at)| *at).collect();
        timed_query!(
            self.0,
            sqlx::query!(
                "UPDATE api_keys k SET last_used_at = u.at
                 FROM unnest($1::uuid[], $2::timestamptz[]) AS u (id, at)
                 WHERE k.id = u.id AND (k.last_used_at IS NULL OR k.last_used_at < u.at)",
                &ids,
                &times
            ),
            execute
        )?;
        Ok(())
    }
}

/// Revokes all keys of a user. Part of removing somebody, and of changing the password where that is asked for.
pub(super) async fn revoke_keys(
    connection: &mut sqlx::PgConnection,
    organization: OrganizationId,
    user: UserId,
    now: DateTime<Utc>,
) -> Result<Vec<(uuid::Uuid, Vec<u8>)>, sqlx::Error> {
    let keys = sqlx::query!(
        "UPDATE api_keys SET revoked_at = $3
         WHERE organization_id = $1 AND user_id = $2 AND revoked_at IS NULL RETURNING id, digest",
        organization.0,
        user.0,
        now
    )
    .fetch_all(connection)
    .await?;
    Ok(keys.into_iter().map(|key| (key.id, key.digest)).collect())
}
