//! Saying of which environment a database is that does not say it.

use super::{
    MigrationError, Session, deployment,
    deployment::{Foreign, Owner},
    record::{Command, Order, Outcome, Run},
};
use crate::StoreError;

impl Session {
    /// Writes the session's environment into a database that says none. What stands there already stays.
    pub async fn mark(&mut self, order: Order) -> Result<(), MigrationError> {
        let standing = deployment::standing(&mut self.connection)
            .await
            .map_err(StoreError::from)?;
        match standing.owner() {
            Owner::Environment(owner) if owner != self.environment => {
                return Err(Foreign::Other {
                    address: self.address.clone(),
                    configured: self.environment.as_str(),
                    owner: owner.as_str(),
                }
                .into());
            }
            Owner::Environment(_) | Owner::Nobody | Owner::Unknown => {}
        }
        let run = Run::new(Command::Mark, self.environment, order, Vec::new());
        deployment::claim(&mut self.connection, self.environment).await?;
        Ok(run
            .note(&mut self.connection, Outcome::Done, None)
            .await
            .map_err(StoreError::from)?)
    }
}
