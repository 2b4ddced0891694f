//! Sessions and their refresh tokens.

mod changes;
mod ending;
mod rotation;

use chrono::{DateTime, Utc};
use sqlx::Connection;

use super::{Database, StoreError, audit, timed_query};
use crypto::secret::Digest;
use domain::{
    account::{Session, SessionOwner},
    audit::{Act, Action, Target},
    ids::{OrganizationId, SessionId, UserId},
    page::{Cursor, Page, PageRequest},
};

pub use changes::{SessionEnd, UserChange};
use ending::end_oldest;
pub(super) use ending::end_sessions;
pub use rotation::Rotation;

#[derive(Clone)]
pub struct Sessions(pub(super) Database);

/// A session to insert, with its first refresh token (for programs) or its cookie (for the page).
pub struct NewSession<'a> {
    pub id: SessionId,
    pub refresh: Option<&'a Digest>,
    pub cookie: Option<&'a Digest>,
    pub device: Option<&'a str>,
    pub expires_at: DateTime<Utc>,
}

/// A session to open for somebody whose password was found to match `password_hash`.
pub struct SignIn<'a> {
    pub user: UserId,
    pub password_hash: &'a str,
    pub session: &'a NewSession<'a>,
    /// Of more sessions of the user the oldest end.
    pub max_sessions: u32,
}

struct OwnerRow {
    session_id: uuid::Uuid,
    organization_id: uuid::Uuid,
    user_id: uuid::Uuid,
    role: String,
    expires_at: DateTime<Utc>,
    confirmed_at: DateTime<Utc>,
}

impl TryFrom<OwnerRow> for SessionOwner {
    type Error = StoreError;

    fn try_from(row: OwnerRow) -> Result<Self, StoreError> {
        Ok(Self {
            session: row.session_id.into(),
            organization: row.organization_id.into(),
            user: row.user_id.into(),
            role: row.role.parse().map_err(StoreError::corrupt)?,
            expires_at: row.expires_at,
            confirmed_at: row.confirmed_at,
        })
    }
}

/// Part of signing in, and of changing the password in a browser, which gets another cookie for it. False unless the password
/// is still the one that was verified: hashing takes its time, and whoever knew the old password may have been at it when the
/// new one was set. The lock makes a change or removal wait that has not begun, and this one for a change that has:
/// `KEY SHARE` would not wait for a new password. Sign-ins of one person wait for each other, so that their sessions can be counted.
pub(super) async fn insert_session(
    connection: &mut sqlx::PgConnection,
    organization: OrganizationId,
    user: UserId,
    password_hash: &str,
    new: &NewSession<'_>,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let made = sqlx::query!(
        "INSERT INTO sessions (id, organization_id, user_id, cookie_digest, created_at, expires_at, device)
         SELECT $1, organization_id, id, $4, $5, $6, $8 FROM users
         WHERE organization_id = $2 AND id = $3 AND removed_at IS NULL AND password_hash = $7 FOR NO KEY UPDATE",
        new.id.0,
        organization.0,
        user.0,
        new.cookie.map(Digest::as_slice),
        now,
        new.expires_at,
        password_hash,
        new.device
    )
    .execute(connection)
    .await?;
    Ok(made.rows_affected() > 0)
}

impl Sessions {
    /// Opens a session, and gives those that end for it; nothing if the user has another password or was removed meanwhile.
    pub async fn create(
        &self,
        organization: OrganizationId,
        sign_in: &SignIn<'_>,
        act: &Act,
        now: DateTime<Utc>,
    ) -> Result<Option<Vec<SessionId>>, StoreError> {
        let SignIn {
            user,
            password_hash,
            session: new,
            max_sessions,
        } = *sign_in;
        let mut connection = self.0.checkout().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                if !insert_session(&mut transaction, organization, user, password_hash, new, now).await? {
                    return Ok(None);
                }
                if let Some(refresh) = new.refresh {
                    sqlx::query!(
                        "INSERT INTO refresh_tokens (digest, session_id, created_at) VALUES ($1, $2, $3)",
                        refresh.as_slice(),
                        new.id.0,
                        now
                    )
                    .execute(&mut *transaction)
                    .await?;
                }
                let kind = if new.cookie.is_some() { "browser" } else { "program" };
                let event = act
                    .event(organization, Action::SessionSignedIn, Target::Session(new.id), now)
                    .after("kind", kind)
                    .after("expires_at", new.expires_at);
                audit::record(&mut transaction, &event).await?;
                let ended = end_oldest(&mut transaction, organization, user, max_sessions, now).await?;
                if !ended.is_empty() {
                    let event = Act::of_system()
                        .event(organization, Action::SessionEnded, Target::Member(user), now)
                        .after("sessions_ended", ended.len())
                        .after("reason", "more sessions than one person may have");
                    audit::record(&mut transaction, &event).await?;
                }
                transaction.commit().await?;
                Ok(Some(ended))
            })
            .await;
        connection.settle(outcome)
    }

    /// The owner of a session that is neither over nor expired, with the role as it is now.
    pub async fn find(
        &self,
        organization: OrganizationId,
        session: SessionId,
        now: DateTime<Utc>,
    ) -> Result<Option<SessionOwner>, StoreError> {
        timed_query!(
            self.0,
            sqlx::query_as!(
                OwnerRow,
                r#"SELECT s.id AS session_id, s.organization_id, s.user_id, u.role, s.expires_at,
                          GREATEST(s.created_at, s.confirmed_at) AS "confirmed_at!"
                 FROM sessions s JOIN users u ON u.organization_id = s.organization_id AND u.id = s.user_id
                 WHERE s.organization_id = $1 AND s.id = $2 AND u.removed_at IS NULL AND s.ended_at IS NULL AND s.expires_at > $3"#,
                organization.0,
                session.0,
                now
            ),
            fetch_optional
        )?
        .map(SessionOwner::try_from)
        .transpose()
    }

    /// The same by the page's cookie, which is itself the authority.
    pub async fn find_by_cookie(
        &self,
        cookie: &Digest,
        now: DateTime<Utc>,
    ) -> Result<Option<SessionOwner>, StoreError> {
        timed_query!(
            self.0,
            sqlx::query_as!(
                OwnerRow,
                r#"SELECT s.id AS session_id, s.organization_id, s.user_id, u.role, s.expires_at,
                          GREATEST(s.created_at, s.confirmed_at) AS "confirmed_at!"
                 FROM sessions s JOIN users u ON u.organization_id = s.organization_id AND u.id = s.user_id
                 WHERE s.cookie_digest = $1 AND u.removed_at IS NULL AND s.ended_at IS NULL AND s.expires_at > $2"#,
                cookie.as_slice(),
                now
            ),
            fetch_optional
        )?
        .map(SessionOwner::try_from)
        .transpose()
    }

    /// A user's sessions that are neither over nor expired, newest first.
    pub async fn list(
        &self,
        organization: OrganizationId,
        user: UserId,
        page: PageRequest,
        now: DateTime<Utc>,
    ) -> Result<Page<Session>, StoreError> {
        let after = page.after.unwrap_or(Cursor::END);
        let rows = timed_query!(
            self.0,
            sqlx::query!(
                r#"SELECT id, cookie_digest IS NOT NULL AS "is_browser!", device, last_used_at, created_at, expires_at FROM sessions
                   WHERE organization_id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > $3
                     AND (created_at, id) < ($4, $5)
                   ORDER BY created_at DESC, id DESC LIMIT $6"#,
                organization.0,
                user.0,
                now,
                after.time(),
                after.id,
                i64::from(page.limit) + 1
            ),
            fetch_all
        )?;
        let sessions = rows.into_iter().map(|row| Session {
            id: row.id.into(),
            is_browser: row.is_browser,
            device: row.device,
            last_used_at: row.last_used_at,
            created_at: row.created_at,
            expires_at: row.expires_at,
        });
        Ok(Page::cut(sessions.collect(), page.limit, |session: &Session| Cursor {
            micros: session.created_at.timestamp_micros(),
            id: session.id.0,
        }))
    }
}
