//! What is done for answers whose writer could not finish: the database was away, or the process has died.

use super::{Answers, writer};
use domain::{conversation::Ending, ids::OrganizationId};
use store::StoreError;

impl Answers {
    /// Stores the answers that were put aside while the database was away, by this process or one before it. Gives how many.
    pub async fn store_spooled(&self) -> Result<u64, StoreError> {
        let Some(spool) = &self.spool else { return Ok(0) };
        let mut stored = 0;
        for path in spool.list().await {
            let Some(finished) = spool.read(path.clone()).await else {
                continue;
            };
            let (answer, hidden) = (finished.message(), finished.hidden());
            let organization = OrganizationId(finished.organization);
            let kept = self
                .messages
                .finish_answer(organization, &answer, &hidden, finished.at)
                .await;
            match kept {
                Ok(_) => {
                    stored += 1;
                    spool.done(path, None).await;
                }
                Err(error @ StoreError::Unavailable(_)) => return Err(error),
                Err(error) => spool.done(path, Some(error)).await,
            }
        }
        Ok(stored)
    }

    /// Closes answers whose writer died with its process. Gives how many.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        let now = self.clock.now();
        let ending = Ending::new(
            "interrupted",
            "The server that wrote this answer was restarted. Try again.",
        );
        self.messages
            .close_abandoned(now - writer::SILENCE_MEANS_DEATH, &ending, now)
            .await
    }
}
