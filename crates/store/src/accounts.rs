//! Organisations and users.

mod activity;
pub mod addresses;
mod deletion;
mod erasure;
pub mod members;
pub mod profile;

pub use activity::Counting;

use chrono::{DateTime, Utc};
use sqlx::Connection;

use super::{Database, StoreError, audit, sessions::end_sessions, timed_query};
use domain::{
    account::{Organization, User},
    audit::{Act, Action, Target},
    email::Email,
    ids::{OrganizationId, SessionId, UserId},
    page::{Cursor, Page, PageRequest},
    role::Role,
};

/// The constraint that a second account with the same address violates.
pub const EMAIL_TAKEN: &str = "users_email_unique";

#[derive(Clone)]
pub struct Accounts(pub(super) Database);

/// A user to insert.
pub struct NewUser<'a> {
    pub id: UserId,
    pub email: &'a Email,
    pub name: &'a str,
    pub role: Role,
    pub password_hash: &'a str,
    /// Whether somebody vouches for the address: whoever invited, or an operator.
    pub is_proven: bool,
}

struct UserRow {
    id: uuid::Uuid,
    organization_id: uuid::Uuid,
    organization_name: String,
    email: String,
    name: String,
    role: String,
    created_at: DateTime<Utc>,
}

impl TryFrom<UserRow> for User {
    type Error = StoreError;

    fn try_from(row: UserRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id.into(),
            organization: Organization {
                id: row.organization_id.into(),
                name: row.organization_name,
            },
            email: row.email,
            name: row.name,
            role: row.role.parse().map_err(StoreError::corrupt)?,
            created_at: row.created_at,
        })
    }
}

impl Accounts {
    /// Creates an organisation together with its owner. [`EMAIL_TAKEN`] if the address has an account.
    pub async fn register(
        &self,
        organization: &Organization,
        owner: &NewUser<'_>,
        act: &Act,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut connection = self.0.checkout().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                sqlx::query!(
                    "INSERT INTO organizations (id, name, created_at) VALUES ($1, $2, $3)",
                    organization.id.0,
                    organization.name,
                    now
                )
                .execute(&mut *transaction)
                .await?;
                insert_user(&mut transaction, organization.id, owner, now).await?;
                let (id, target) = (organization.id, Target::Organization(organization.id));
                let event = act
                    .event(id, Action::OrganizationRegistered, target, now)
                    .after("owner", owner.id.0);
                audit::record(&mut transaction, &event).await?;
                transaction.commit().await
            })
            .await;
        connection.settle(outcome)
    }

    /// One user of one organisation.
    pub async fn get(&self, organization: OrganizationId, user: UserId) -> Result<Option<User>, StoreError> {
        timed_query!(
            self.0,
            sqlx::query_as!(
                UserRow,
                "SELECT u.id, u.organization_id, o.name AS organization_name, u.email, u.name, u.role, u.created_at
                 FROM users u JOIN organizations o ON o.id = u.organization_id
                 WHERE u.organization_id = $1 AND u.id = $2 AND u.removed_at IS NULL",
                organization.0,
                user.0
            ),
            fetch_optional
        )?
        .map(User::try_from)
        .transpose()
    }

    /// The people of the organisation, oldest first.
    pub async fn list(&self, organization: OrganizationId, page: PageRequest) -> Result<Page<User>, StoreError> {
        let after = page.after.unwrap_or(Cursor::START);
        let rows = timed_query!(
            self.0,
            sqlx::query_as!(
                UserRow,
                "SELECT u.id, u.organization_id, o.name AS organization_name, u.email, u.name, u.role, u.created_at
                 FROM users u JOIN organizations o ON o.id = u.organization_id
                 WHERE u.organization_id = $1 AND u.removed_at IS NULL AND (u.created_at, u.id) > ($2, $3)
                 ORDER BY u.created_at, u.id LIMIT $4",
                organization.0,
                after.time(),
                after.id,
                i64::from(page.limit) + 1
            ),
            fetch_all
        )?;
        let users = rows.into_iter().map(User::try_from).collect::<Result<_, _>>()?;
        Ok(Page::cut(users, page.limit, |user: &User| Cursor {
            micros: user.created_at.timestamp_micros(),
            id: user.id.0,
        }))
    }

    pub async fn password_hash(
        &self,
        organization: OrganizationId,
        user: UserId,
    ) -> Result<Option<String>, StoreError> {
        timed_query!(
            self.0,
            sqlx::query_scalar!(
                "SELECT password_hash FROM users WHERE organization_id = $1 AND id = $2 AND removed_at IS NULL",
                organization.0,
                user.0
            ),
            fetch_optional
        )
    }

    /// Replaces a password whatever it was, and ends all of the user's sessions: gives these.
    pub async fn reset_password(
        &self,
        organization: OrganizationId,
        user: UserId,
        hash: &str,
        act: &Act,
        now: DateTime<Utc>,
    ) -> Result<Vec<SessionId>, StoreError> {
        let mut connection = self.0.checkout().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                sqlx::query!(
                    "UPDATE users SET password_hash = $3, updated_at = $4
                     WHERE organization_id = $1 AND id = $2 AND removed_at IS NULL",
                    organization.0,
                    user.0,
                    hash,
                    now
                )
                .execute(&mut *transaction)
                .await?;
                let ended = end_sessions(&mut transaction, organization, user, None, now).await?;
                let event = act
                    .event(organization, Action::PasswordReset, Target::Member(user), now)
                    .after("sessions_ended", ended.len());
                audit::record(&mut transaction, &event).await?;
                transaction.commit().await?;
                Ok(ended)
            })
            .await;
        connection.settle(outcome)
    }
}

/// Part of registering and of accepting an invitation.
pub(super) async fn insert_user(
    connection: &mut sqlx::PgConnection,
    organization: OrganizationId,
    user: &NewUser<'_>,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO users (id, organization_id, email, email_folded, name, role, password_hash, created_at, updated_at, email_proven_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9)",
        user.id.0,
        organization.0,
        user.email.as_str(),
        user.email.folded(),
        user.name,
        user.role.as_str(),
        user.password_hash,
        now,
        user.is_proven.then_some(now)
    )
    .execute(connection)
    .await?;
    Ok(())
}
