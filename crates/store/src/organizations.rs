//! What an organisation has settled for all of its people.

use chrono::{DateTime, Utc};

use sqlx::Connection;

use super::{Database, StoreError, audit, timed_query};
use domain::{
    account::{Organization, OrganizationSettings},
    audit::{Act, Action, Target},
    ids::{OrganizationId, UserId},
};

#[derive(Clone)]
pub struct Organizations(pub(super) Database);

impl Organizations {
    pub async fn settings(&self, organization: OrganizationId) -> Result<Option<OrganizationSettings>, StoreError> {
        let row = timed_query!(
            self.0,
            sqlx::query!("SELECT share_answers FROM organizations WHERE id = $1", organization.0),
            fetch_optional
        )?;
        Ok(row.map(|row| OrganizationSettings {
            share_answers: row.share_answers,
        }))
    }

    /// Also when it will be deleted, if it will.
    pub async fn get(
        &self,
        organization: OrganizationId,
    ) -> Result<Option<(Organization, OrganizationSettings, Option<DateTime<Utc>>)>, StoreError> {
        let row = timed_query!(
            self.0,
            sqlx::query!(
                "SELECT id, name, share_answers, delete_after FROM organizations WHERE id = $1",
                organization.0
            ),
            fetch_optional
        )?;
        Ok(row.map(|row| {
            let organization = Organization {
                id: row.id.into(),
                name: row.name,
            };
            let settings = OrganizationSettings {
                share_answers: row.share_answers,
            };
            (organization, settings, row.delete_after)
        }))
    }

    /// False if `by` may not, by the role of this moment.
    pub async fn set_share_answers(
        &self,
        organization: OrganizationId,
        by: UserId,
        share_answers: bool,
        act: &Act,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut connection = self.0.checkout().await?;
        let outcome = self
            .0
            .limit(async {
                let mut transaction = connection.get().begin().await?;
                let allowed = sqlx::query_scalar!(
                    "SELECT id FROM users
                     WHERE organization_id = $1 AND id = $2 AND role IN ('admin', 'owner') AND removed_at IS NULL FOR SHARE",
                    organization.0,
                    by.0
                )
                .fetch_optional(&mut *transaction)
                .await?;
                if allowed.is_none() {
                    return Ok(false);
                }
                let before = sqlx::query_scalar!(
                    "SELECT share_answers FROM organizations WHERE id = $1 FOR NO KEY UPDATE",
                    organization.0
                )
                .fetch_one(&mut *transaction)
                .await?;
                sqlx::query!(
                    "UPDATE organizations SET share_answers = $2 WHERE id = $1",
                    organization.0,
                    share_answers
                )
                .execute(&mut *transaction)
                .await?;
                let target = Target::Organization(organization);
                let event = act
                    .event(organization, Action::OrganizationSharingChanged, target, now)
                    .before("share_answers", before)
                    .after("share_answers", share_answers);
                audit::record(&mut transaction, &event).await?;
                transaction.commit().await?;
                Ok(true)
            })
            .await;
        connection.settle(outcome)
    }
}
