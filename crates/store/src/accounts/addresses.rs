//! E-mail addresses: whose they are, and in which form they are kept.

use chrono::{DateTime, Utc};

use super::{Accounts, UserRow};
use crate::{StoreError, audit, timed_query};
use domain::{
    account::User,
    audit::{Act, Action, Target},
    email::Email,
    ids::{OrganizationId, UserId},
    text::invisible,
};

/// Accounts that may share an address: the one that holds it and those that had to give it up. Signing in tries each.
const MAX_SHARING: i64 = 4;
/// Addresses read with one query while they are brought into the present form.
const BATCH: i64 = 500;

/// What bringing stored addresses into the present form has come to.
#[derive(Debug, Default)]
pub struct Refolded {
    pub changed: u64,
    /// Accounts whose address, in the present form, another account has: nothing was changed about them.
    pub collisions: Vec<UserId>,
}

/// Each with the form that is stored, and the last of those that were looked at, if there were any.
struct FoldedOtherwise {
    found: Vec<(uuid::Uuid, String, Email)>,
    last: Option<uuid::Uuid>,
}

impl Accounts {
    /// The accounts that sign in with this address, whatever their organisation, with their password hashes: the one that holds
    /// it first. For signing in only.
    pub async fn find_by_email(&self, email: &Email) -> Result<Vec<(User, String)>, StoreError> {
        let rows = timed_query!(
            self.0,
            sqlx::query!(
                "SELECT u.id, u.organization_id, o.name AS organization_name, u.email, u.name, u.role, u.created_at, u.password_hash
                 FROM users u JOIN organizations o ON o.id = u.organization_id
                 WHERE (u.email_folded = $1 OR u.email_folded = $2 OR u.displaced_email = $1) AND u.removed_at IS NULL
                 ORDER BY u.email_folded = $1 DESC, u.email_folded = $2 DESC, u.created_at LIMIT $3",
                email.folded(),
                email.folded_before(),
                MAX_SHARING
            ),
            fetch_all
        )?;
        rows.into_iter()
            .map(|row| {
                let user = User::try_from(UserRow {
                    id: row.id,
                    organization_id: row.organization_id,
                    organization_name: row.organization_name,
                    email: row.email,
                    name: row.name,
                    role: row.role,
                    created_at: row.created_at,
                })?;
                Ok((user, row.password_hash))
            })
            .collect()
    }

    /// Stores a hash in place of another of the same password.
    pub async fn rehash(
        &self,
        organization: OrganizationId,
        user: UserId,
        old: &str,
        new: &str,
    ) -> Result<bool, StoreError> {
        let done = timed_query!(
            self.0,
            sqlx::query!(
                "UPDATE users SET password_hash = $4
                 WHERE organization_id = $1 AND id = $2 AND password_hash = $3 AND removed_at IS NULL",
                organization.0,
                user.0,
                old,
                new
            ),
            execute
        )?;
        Ok(done.rows_affected() > 0)
    }

    /// Brings addresses that an earlier release has stored into the form that this one compares. Two accounts with one address are
    /// never made one: that is for people to decide.
    pub async fn refold_emails(&self, now: DateTime<Utc>) -> Result<Refolded, StoreError> {
        let (mut outcome, mut after) = (Refolded::default(), Some(uuid::Uuid::nil()));
        while let Some(from) = after {
            let some = self.folded_otherwise(from).await?;
            after = some.last;
            for (user, old, email) in some.found {
                if self.refold(user, &old, &email.folded(), now).await? {
                    outcome.changed += 1;
                } else {
                    outcome.collisions.push(user.into());
                }
            }
        }
        Ok(outcome)
    }

    /// Accounts whose address, in the form that this release compares, another account has.
    pub async fn colliding_emails(&self) -> Result<Vec<UserId>, StoreError> {
        let (mut colliding, mut after) = (Vec::new(), Some(uuid::Uuid::nil()));
        while let Some(from) = after {
            let some = self.folded_otherwise(from).await?;
            after = some.last;
            for (user, _, email) in some.found {
                // The one that holds the address comes first.
                let holder = self.find_by_email(&email).await?.into_iter().next();
                if holder.is_some_and(|(holder, _)| holder.id != user.into()) {
                    colliding.push(user.into());
                }
            }
        }
        Ok(colliding)
    }

    /// Some accounts after this one whose address is stored in another form than this release compares. Only those with letters beyond
    /// ASCII can be.
    async fn folded_otherwise(&self, after: uuid::Uuid) -> Result<FoldedOtherwise, StoreError> {
        let rows = timed_query!(
            self.0,
            sqlx::query!(
                "SELECT id, email, email_folded FROM users
                     WHERE id > $1 AND removed_at IS NULL AND displaced_email IS NULL AND email ~ '[^ -~]'
                     ORDER BY id LIMIT $2",
                after,
                BATCH
            ),
            fetch_all
        )?;
        let last = rows.last().map(|row| row.id);
        let found = rows.into_iter().filter_map(|row| {
            // A character that is not seen is one that nobody meant to type.
            let email = Email::parse(&invisible::removed(&row.email)).ok()?;
            (email.folded() != row.email_folded).then_some((row.id, row.email_folded, email))
        });
        Ok(FoldedOtherwise {
            found: found.collect(),
            last,
        })
    }

    /// False if another account has the address.
    async fn refold(&self, user: uuid::Uuid, old: &str, new: &str, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let done = timed_query!(
            self.0,
            sqlx::query!(
                "UPDATE users SET email_folded = $3, updated_at = $4
                 WHERE id = $1 AND email_folded = $2 AND NOT EXISTS (SELECT FROM users o WHERE o.email_folded = $3)",
                user,
                old,
                new,
                now
            ),
            execute
        );
        match done {
            Ok(done) => Ok(done.rows_affected() > 0),
            Err(error) if error.constraint() == Some(super::EMAIL_TAKEN) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Takes the address from an account that nobody vouches for, of another organisation: part of accepting an invitation to it.
/// That account goes on, and signs in by the address as before. Gives whose it was.
pub(crate) async fn displace_unproven(
    connection: &mut sqlx::PgConnection,
    organization: OrganizationId,
    email: &Email,
    now: DateTime<Utc>,
) -> Result<Option<UserId>, sqlx::Error> {
    let displaced = sqlx::query!(
        "UPDATE users SET displaced_email = $2, email_folded = 'unproven:' || id, updated_at = $3
         WHERE email_folded = $2 AND organization_id <> $1 AND email_proven_at IS NULL AND removed_at IS NULL
           AND (SELECT count(*) FROM users d WHERE d.displaced_email = $2 AND d.removed_at IS NULL) < $4
         RETURNING id, organization_id",
        organization.0,
        email.folded(),
        now,
        MAX_SHARING - 1
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(displaced) = displaced else {
        return Ok(None);
    };
    // Told to the organisation that has lost something, of which the person who accepts knows nothing, nor it of them.
    let (theirs, user) = (displaced.organization_id.into(), displaced.id.into());
    let event = Act::of_system().event(theirs, Action::AccountAddressDisplaced, Target::Member(user), now);
    audit::record(connection, &event).await?;
    Ok(Some(user))
}
