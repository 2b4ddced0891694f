//! Invitations: one-time access to an organisation.

use chrono::{DateTime, Utc};
use sqlx::Connection;

use super::{
    Database, StoreError,
    accounts::{NewUser, addresses::displace_unproven, insert_user},
    audit,
    limits::{self, LimitReached, Limited},
    timed_query,
};
use configuration::LimitsConfig;
use crypto::secret::Digest;
use domain::{
    account::{Invitation, Organization},
    audit::{Act, Action, Target},
    email::Email,
    ids::{InvitationId, OrganizationId, UserId},
    page::{Cursor, Page, PageRequest},
    role::Role,
};

#[derive(Clone)]
pub struct Invitations(pub(super) Database);

/// An invitation to insert.
pub struct NewInvitation<'a> {
    pub id: InvitationId,
    pub email: &'a Email,
    pub role: Role,
    pub token: &'a Digest,
    pub invited_by: UserId,
    pub expires_at: DateTime<Utc>,
}

struct InvitationRow {
    id: uuid::Uuid,
    organization_id: uuid::Uuid,
    organization_name: String,
    email: String,
    role: String,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

impl TryFrom<InvitationRow> for Invitation {
    type Error = StoreError;

    fn try_from(row: InvitationRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id.into(),
            organization: Organization {
                id: row.organization_id.into(),
                name: row.organization_name,
            },
            email: row.email,
            role: row.role.parse().map_err(StoreError::corrupt)?,
            created_at: row.created_at,
            expires_at: row.expires_at,
        })
    }
}

/// The result of accepting an invitation.
pub enum Acceptance {
    Joined {
        /// The account that had registered with the address and nobody's word.
        displaced: Option<UserId>,
    },
    /// Another request was faster, or the inviter may not grant that role any more.
    Void,
}

impl Invitations {
    /// False if the inviter was removed meanwhile, or may not grant that role any more. The lock serialises this with
    /// changes of the inviter's role.
    pub async fn create(
        &self,
        organization: OrganizationId,
        new: &NewInvitation<'_>,
        limits: &LimitsConfig,
        act: &Act,
        now: DateTime<Utc>,
    ) -> Result<Result<bool, LimitReached>, StoreError> {
        let (mut connection, address) = (self.0.checkout().await?, new.email.folded());
        let outcome = self.0.limit(async {
            let mut transaction = connection.get().begin().await?;
            let by = new.invited_by;
            limits::lock(&mut transaction, organization, by).await?;
            let (own, all, to_address) = limits::invitations(&mut transaction, organization, by, &address, now).await?;
            let counted = [
                (
                    Limited::InvitationsOfAddress,
                    to_address,
                    limits.invitations_per_address,
                ),
                (Limited::InvitationsOfPerson, own, limits.invitations_per_person),
                (
                    Limited::InvitationsOfOrganization,
                    all,
                    limits.invitations_per_organization,
                ),
            ];
            if let Some(reached) = limits::reached(&counted) {
                return Ok(Err(reached));
            }
            let done = sqlx::query!(
                "INSERT INTO invitations
                     (id, organization_id, email, email_folded, role, token_digest, invited_by, created_at, expires_at)
                 SELECT $1, organization_id, $3, $4, $5, $6, id, $8, $9 FROM users
                 WHERE organization_id = $2 AND id = $7 AND removed_at IS NULL AND role = ANY($10) FOR SHARE",
                new.id.0,
                organization.0,
                new.email.as_str(),
                &address,
                new.role.as_str(),
                new.token.as_slice(),
                new.invited_by.0,
                now,
                new.expires_at,
                &granting(new.role)
            )
            .execute(&mut *transaction)
            .await?;
            if done.rows_affected() == 0 {
                return Ok(Ok(false));
            }
            let event = act
                .event(organization, Action::InvitationCreated, Target::Invitation(new.id), now)
                .after("role", new.role.as_str())
                .after("expires_at", new.expires_at);
            audit::record(&mut transaction, &event).await?;
            transaction.commit().await?;
            Ok(Ok(true))
        });
        let outcome = outcome.await;
        connection.settle(outcome)
    }

    /// Invitations that can still be accepted, newest first.
    pub async fn list_open(
        &self,
        organization: OrganizationId,
        page: PageRequest,
        now: DateTime<Utc>,
    ) -> Result<Page<Invitation>, StoreError> {
        let after = page.after.unwrap_or(Cursor::END);
        let rows = timed_query!(
            self.0,
            sqlx::query_as!(
                InvitationRow,
                "SELECT i.id, i.organization_id, o.name AS organization_name, i.email, i.role, i.created_at, i.expires_at
                 FROM invitations i JOIN organizations o ON o.id = i.organization_id
                 WHERE i.organization_id = $1 AND i.accepted_at IS NULL AND i.expires_at > $2
                   AND (i.created_at, i.id) < ($3, $4)
                 ORDER BY i.created_at DESC, i.id DESC LIMIT $5",
                organization.0,
                now,
                after.time(),
                after.id,
                i64::from(page.limit) + 1
            ),
            fetch_all
        )?;
        let rows = rows.into_iter().map(Invitation::try_from).collect::<Result<_, _>>()?;
        Ok(Page::cut(rows, page.limit, |invitation: &Invitation| Cursor {
            micros: invitation.created_at.timestamp_micros(),
            id: invitation.id.0,
        }))
    }

    /// Withdraws one; false if there was none.
    pub async fn delete(
        &self,
        organization: OrganizationId,
        id: InvitationId,
        act: &Act,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut connection = self.0.checkout().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                let withdrawn = sqlx::query_scalar!(
                    "DELETE FROM invitations WHERE organization_id = $1 AND id = $2 AND accepted_at IS NULL RETURNING role",
                    organization.0,
                    id.0
                )
                .fetch_optional(&mut *transaction)
                .await?;
                let Some(role) = withdrawn else {
                    return Ok(false);
                };
                let role = role.parse::<Role>().ok();
                let event = act
                    .event(organization, Action::InvitationWithdrawn, Target::Invitation(id), now)
                    .before("role", role.map(Role::as_str));
                audit::record(&mut transaction, &event).await?;
                transaction.commit().await?;
                Ok(true)
            })
            .await;
        connection.settle(outcome)
    }

    /// The open invitation of this token, if its inviter could still make it. The token itself is the authority, so there
    /// is no tenant to ask for.
    pub async fn find_open(&self, token: &Digest, now: DateTime<Utc>) -> Result<Option<Invitation>, StoreError> {
        let row = timed_query!(
            self.0,
            sqlx::query!(
                "SELECT i.id, i.organization_id, o.name AS organization_name, i.email, i.role, i.created_at, i.expires_at,
                        m.role AS maker_role
                 FROM invitations i JOIN organizations o ON o.id = i.organization_id
                     JOIN users m ON m.organization_id = i.organization_id AND m.id = i.invited_by
                 WHERE i.token_digest = $1 AND i.accepted_at IS NULL AND i.expires_at > $2 AND m.removed_at IS NULL",
                token.as_slice(),
                now
            ),
            fetch_optional
        )?;
        let Some(row) = row else {
            return Ok(None);
        };
        let maker: Role = row.maker_role.parse().map_err(StoreError::corrupt)?;
        let invitation = Invitation {
            id: row.id.into(),
            organization: Organization {
                id: row.organization_id.into(),
                name: row.organization_name,
            },
            email: row.email,
            role: row.role.parse().map_err(StoreError::corrupt)?,
            created_at: row.created_at,
            expires_at: row.expires_at,
        };
        Ok(Some(invitation).filter(|invitation| maker.may_grant(invitation.role)))
    }

    /// Uses the invitation up and creates the user, both or neither. An account that nobody vouches for gives up its address.
    pub async fn accept(
        &self,
        organization: OrganizationId,
        id: InvitationId,
        user: &NewUser<'_>,
        act: &Act,
        now: DateTime<Utc>,
    ) -> Result<Acceptance, StoreError> {
        let mut connection = self.0.checkout().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                // Locks the inviter first, in the same order as role changes, to avoid a deadlock. The lock makes one of
                // the two see what the other has done.
                let maker = sqlx::query_scalar!(
                    "SELECT u.role FROM users u
                     WHERE u.organization_id = $1 AND u.removed_at IS NULL AND u.id =
                         (SELECT i.invited_by FROM invitations i WHERE i.organization_id = $1 AND i.id = $2)
                     FOR SHARE",
                    organization.0,
                    id.0
                )
                .fetch_optional(&mut *transaction)
                .await?
                .and_then(|role| role.parse::<Role>().ok());
                if !maker.is_some_and(|maker| maker.may_grant(user.role)) {
                    return Ok(Acceptance::Void);
                }
                let taken = sqlx::query!(
                    "UPDATE invitations SET accepted_at = $3
                     WHERE organization_id = $1 AND id = $2 AND role = $4 AND accepted_at IS NULL AND expires_at > $3",
                    organization.0,
                    id.0,
                    now,
                    user.role.as_str()
                )
                .execute(&mut *transaction)
                .await?;
                if taken.rows_affected() == 0 {
                    return Ok(Acceptance::Void);
                }
                let displaced = displace_unproven(&mut transaction, organization, user.email, now).await?;
                insert_user(&mut transaction, organization, user, now).await?;
                let event = act
                    .event(organization, Action::InvitationAccepted, Target::Invitation(id), now)
                    .after("role", user.role.as_str())
                    .after("member", user.id.0);
                audit::record(&mut transaction, &event).await?;
                transaction.commit().await?;
                Ok(Acceptance::Joined { displaced })
            })
            .await;
        connection.settle(outcome)
    }
}

/// The roles that may grant `role`.
fn granting(role: Role) -> Vec<String> {
    Role::names(|giver| giver.may_grant(role))
}
