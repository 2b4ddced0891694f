//! When an organisation ends.

use chrono::{DateTime, Utc};
use sqlx::Connection;

use super::Accounts;
use crate::{StoreError, audit};
use domain::{
    audit::{Act, Action, Target},
    ids::{OrganizationId, UserId},
};

/// What was asked for with a power ends with it: an organisation is not deleted because somebody wanted it who owns it no more.
pub(super) async fn take_back_deletion(
    connection: &mut sqlx::PgConnection,
    organization: OrganizationId,
    asked_by: UserId,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let taken_back = sqlx::query!(
        "UPDATE organizations SET delete_after = NULL, delete_by = NULL WHERE id = $1 AND delete_by = $2",
        organization.0,
        asked_by.0
    )
    .execute(&mut *connection)
    .await?;
    if taken_back.rows_affected() > 0 {
        let target = Target::Organization(organization);
        let event = act
            .event(organization, Action::OrganizationDeletionCancelled, target, now)
            .after("delete_after", None::<DateTime<Utc>>)
            .after("had_been_requested_by", asked_by.0);
        audit::record(connection, &event).await?;
    }
    Ok(())
}

impl Accounts {
    /// Sets or takes back when the organisation ends, if `by` owns it now. False if not. The lock makes a change of the role wait,
    /// and this for one that is under way.
    pub async fn set_deletion(
        &self,
        organization: OrganizationId,
        by: UserId,
        after: Option<DateTime<Utc>>,
        act: &Act,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut connection = self.0.checkout().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                // The person first, as whoever changes roles does: else the two could wait for each other.
                let owner = sqlx::query_scalar!(
                    "SELECT id FROM users
                     WHERE organization_id = $1 AND id = $2 AND role = 'owner' AND removed_at IS NULL FOR SHARE",
                    organization.0,
                    by.0
                )
                .fetch_optional(&mut *transaction)
                .await?;
                if owner.is_none() {
                    return Ok(false);
                }
                let before = sqlx::query_scalar!(
                    "SELECT delete_after FROM organizations WHERE id = $1 FOR NO KEY UPDATE",
                    organization.0
                )
                .fetch_one(&mut *transaction)
                .await?;
                sqlx::query!(
                    "UPDATE organizations
                     SET delete_after = $3, delete_by = CASE WHEN $3::timestamptz IS NULL THEN NULL ELSE $2::uuid END WHERE id = $1",
                    organization.0,
                    by.0,
                    after
                )
                .execute(&mut *transaction)
                .await?;
                let action = match after {
                    Some(_) => Action::OrganizationDeletionRequested,
                    None => Action::OrganizationDeletionCancelled,
                };
                // Where nothing was to be deleted, nothing is taken back.
                if after.is_some() || before.is_some() {
                    let event = act
                        .event(organization, action, Target::Organization(organization), now)
                        .before("delete_after", before)
                        .after("delete_after", after);
                    audit::record(&mut transaction, &event).await?;
                }
                transaction.commit().await?;
                Ok(true)
            })
            .await;
        connection.settle(outcome)
    }
}
