//! What an organisation has settled for all of its people.

use chrono::{DateTime, Utc};

use super::{Database, StoreError, timed_query};
use crate::domain::{
    account::{Organization, OrganizationSettings},
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
    ) -> Result<bool, StoreError> {
        let changed = timed_query!(
            self.0,
            sqlx::query!(
                "UPDATE organizations SET share_answers = $3
                 WHERE id = $1 AND id = (
                     SELECT organization_id FROM users
                     WHERE organization_id = $1 AND id = $2 AND role IN ('admin', 'owner') AND removed_at IS NULL FOR SHARE
                 )",
                organization.0,
                by.0,
                share_answers
            ),
            execute
        )?;
        Ok(changed.rows_affected() > 0)
    }
}
