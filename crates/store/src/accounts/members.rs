//! Changes that members of an organisation make to each other.

use chrono::{DateTime, Utc};
use sqlx::Connection;

use super::{
    Accounts,
    deletion::take_back_deletion,
    erasure::{Ending, end_membership, removed},
};
use crate::{StoreError, api_keys::RevokedKey, audit};
use domain::{
    audit::{Act, Action, Target},
    ids::{OrganizationId, SessionId, UserId},
    role::Role,
};

/// The result of one member's change to another.
pub enum RoleChange<T> {
    Done(T),
    /// The caller's role does not reach that far, or one of the two is not a member.
    NotAllowed,
    LastOwner,
    /// Who is to take over is none of the people who stay.
    NoHeir,
}

impl<T> RoleChange<T> {
    pub(super) fn try_map<U, E>(self, map: impl FnOnce(T) -> Result<U, E>) -> Result<RoleChange<U>, E> {
        Ok(match self {
            Self::Done(done) => RoleChange::Done(map(done)?),
            Self::NotAllowed => RoleChange::NotAllowed,
            Self::LastOwner => RoleChange::LastOwner,
            Self::NoHeir => RoleChange::NoHeir,
        })
    }
}

/// What ended with a membership.
pub struct Removed {
    pub sessions: Vec<SessionId>,
    pub keys: Vec<RevokedKey>,
}

/// The roles of both members, locked until the transaction ends: the role in the caller's session may be seconds old, and two
/// owners may be demoting each other at the same time.
struct MemberRoles {
    caller: Option<Role>,
    member: Option<Role>,
    other_owners: bool,
}

impl MemberRoles {
    async fn of(
        connection: &mut sqlx::PgConnection,
        organization: OrganizationId,
        caller: UserId,
        member: UserId,
    ) -> Result<Self, sqlx::Error> {
        let rows = sqlx::query!(
            "SELECT id, role FROM users
             WHERE organization_id = $1 AND removed_at IS NULL AND (role = 'owner' OR id = $2 OR id = $3)
             ORDER BY id FOR UPDATE",
            organization.0,
            caller.0,
            member.0
        )
        .fetch_all(connection)
        .await?;
        let role_of = |user: UserId| rows.iter().find(|row| row.id == user.0)?.role.parse().ok();
        let owner = Role::Owner.as_str();
        Ok(Self {
            caller: role_of(caller),
            member: role_of(member),
            other_owners: rows.iter().any(|row| row.role == owner && row.id != member.0),
        })
    }

    /// Whether the caller may grant and revoke the member's role, and grant `role`.
    fn allows(&self, role: Role) -> bool {
        self.caller
            .zip(self.member)
            .is_some_and(|(caller, member)| caller.may_grant(member) && caller.may_grant(role))
    }

    fn is_last_owner(&self) -> bool {
        self.member == Some(Role::Owner) && !self.other_owners
    }
}

async fn is_member(
    connection: &mut sqlx::PgConnection,
    organization: OrganizationId,
    user: UserId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM users WHERE organization_id = $1 AND id = $2 AND removed_at IS NULL) AS "is!""#,
        organization.0,
        user.0
    )
    .fetch_one(connection)
    .await
}

impl Accounts {
    /// Sets a role, if the caller's own role, as it is now, allows it. Invitations that the new role could not have made are
    /// withdrawn, and so is a deletion of the organisation.
    pub async fn set_role(
        &self,
        organization: OrganizationId,
        caller: UserId,
        member: UserId,
        role: Role,
        act: &Act,
        now: DateTime<Utc>,
    ) -> Result<RoleChange<()>, StoreError> {
        let mut connection = self.0.checkout().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                let people = MemberRoles::of(&mut transaction, organization, caller, member).await?;
                if !people.allows(role) {
                    return Ok(RoleChange::NotAllowed);
                }
                if role != Role::Owner && people.is_last_owner() {
                    return Ok(RoleChange::LastOwner);
                }
                sqlx::query!(
                    "UPDATE users SET role = $3, updated_at = $4 WHERE organization_id = $1 AND id = $2",
                    organization.0,
                    member.0,
                    role.as_str(),
                    now
                )
                .execute(&mut *transaction)
                .await?;
                // What was made with a power ends with it.
                let grantable = Role::names(|given| role.may_grant(given));
                let withdrawn = sqlx::query!(
                    "DELETE FROM invitations
                     WHERE organization_id = $1 AND invited_by = $2 AND accepted_at IS NULL AND NOT role = ANY($3)",
                    organization.0,
                    member.0,
                    &grantable
                )
                .execute(&mut *transaction)
                .await?;
                let event = act
                    .event(organization, Action::MemberRoleChanged, Target::Member(member), now)
                    .before("role", people.member.map(Role::as_str))
                    .after("role", role.as_str())
                    .after("invitations_withdrawn", withdrawn.rows_affected());
                audit::record(&mut transaction, &event).await?;
                if role != Role::Owner {
                    take_back_deletion(&mut transaction, organization, member, act, now).await?;
                }
                transaction.commit().await?;
                Ok(RoleChange::Done(()))
            })
            .await;
        connection.settle(outcome)
    }

    /// Removes a member, if the caller's role allows it, with all that lets anybody in on the member's account: sessions,
    /// keys, and invitations that nobody has accepted. The member's conversations go to `heir`, if an owner says so and that is one of
    /// the people who stay, or are deleted.
    pub async fn remove(
        &self,
        organization: OrganizationId,
        caller: UserId,
        member: UserId,
        heir: Option<UserId>,
        act: &Act,
        now: DateTime<Utc>,
    ) -> Result<RoleChange<Removed>, StoreError> {
        let mut connection = self.0.checkout().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                let people = MemberRoles::of(&mut transaction, organization, caller, member).await?;
                if !people.allows(Role::Member) {
                    return Ok(RoleChange::NotAllowed);
                }
                if people.is_last_owner() {
                    return Ok(RoleChange::LastOwner);
                }
                // What somebody told a model is private: that others read it is for the organisation to say, which its owners speak for.
                if heir.is_some() && people.caller != Some(Role::Owner) {
                    return Ok(RoleChange::NotAllowed);
                }
                if let Some(heir) = heir
                    && !is_member(&mut transaction, organization, heir).await?
                {
                    return Ok(RoleChange::NoHeir);
                }
                let ending = Ending {
                    action: Action::MemberRemoved,
                    heir,
                };
                end_membership(transaction, organization, member, ending, act, now).await
            })
            .await;
        connection.settle(outcome)?.try_map(removed)
    }
}
