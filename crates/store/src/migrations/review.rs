//! Whether what would be applied now is what somebody has reviewed.

use super::{
    MigrationError, Session,
    plan::{self, Plan},
    record,
};
use crate::StoreError;

impl Session {
    /// What `apply` would do now. Reads only.
    pub async fn plan(&mut self) -> Result<Plan, MigrationError> {
        let missing = self.missing_now().await?;
        Ok(plan::plan(&mut self.connection, self.environment, &missing)
            .await
            .map_err(StoreError::from)?)
    }

    /// Whether the digest is that of the plan, or of a run that was interrupted and of which the plan is the rest.
    pub async fn is_reviewed(&mut self, plan: &Plan, digest: &str) -> Result<bool, MigrationError> {
        if plan.digest == digest {
            return Ok(true);
        }
        let now = plan.versions();
        let begun = record::reviewed_as(&mut self.connection, digest)
            .await
            .map_err(StoreError::from)?;
        Ok(begun.iter().any(|versions| {
            versions.ends_with(&now) && plan::digest(&plan.database, self.environment, versions) == digest
        }))
    }
}
