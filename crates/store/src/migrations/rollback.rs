//! Taking migrations back, the last one first.

use sqlx::migrate::Migrate as _;

use super::{
    MigrationError, Session, TABLE,
    destructive::loses_data,
    down,
    plan::file_name,
    record::{Command, Order, Run},
    steps::Direction,
};

impl Session {
    /// Which versions stand above `to`, the last first. An error where one cannot be taken back, or where data would be lost and
    /// nobody has accepted that. Reads only.
    pub async fn way_back(&mut self, to: i64, accepts_loss: bool) -> Result<Vec<i64>, MigrationError> {
        self.missing_now().await?;
        let listed = self.connection.list_applied_migrations(TABLE).await?;
        let mut versions: Vec<i64> = listed
            .into_iter()
            .map(|one| one.version)
            .filter(|version| *version > to)
            .collect();
        versions.sort_unstable_by(|a, b| b.cmp(a));
        let lacking: Vec<i64> = versions
            .iter()
            .copied()
            .filter(|version| down(*version).is_none())
            .collect();
        if !lacking.is_empty() {
            return Err(MigrationError::NoWayBack(lacking));
        }
        let losses: Vec<String> = versions
            .iter()
            .filter_map(|version| down(*version))
            .filter_map(|migration| {
                let words = loses_data(migration.sql.as_str());
                (!words.is_empty()).then(|| format!("{} ({})", file_name(migration), words.join(", ")))
            })
            .collect();
        if !losses.is_empty() && !accepts_loss {
            return Err(MigrationError::Loss(losses));
        }
        Ok(versions)
    }

    /// Takes them back, each in a transaction of its own where it has one.
    pub async fn roll_back(&mut self, versions: &[i64], order: Order) -> Result<(), MigrationError> {
        if versions.is_empty() {
            return Ok(());
        }
        self.claim().await?;
        let run = Run::new(Command::Rollback, self.environment, order, versions.to_vec());
        self.recorded(run, Direction::Down, versions).await
    }
}
