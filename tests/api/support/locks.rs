//! Moments that are over too soon to be met by chance: whoever asks for a locked row stands still until the lock goes.

use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

use super::{TestApp, eventually};

/// A change that has been made and not committed, as by another instance.
pub struct Uncommitted(PgConnection);

impl Uncommitted {
    pub async fn change(app: &TestApp, statement: String) -> Self {
        let mut connection = app.database().await;
        connection.execute("BEGIN").await.unwrap();
        connection.execute(AssertSqlSafe(statement)).await.unwrap();
        Self(connection)
    }

    /// As a change of a role does, which has the people and then takes back the deletion that one of them asked for. Fails if
    /// whoever waits for it has the organisation: the two would wait for each other.
    pub async fn take_organization(&mut self, organization: &str) {
        let lock = format!("SELECT id FROM organizations WHERE id = '{organization}' FOR NO KEY UPDATE NOWAIT");
        self.also(lock).await;
        let take_back =
            format!("UPDATE organizations SET delete_after = NULL, delete_by = NULL WHERE id = '{organization}'");
        self.also(take_back).await;
    }

    /// Another change of the same transaction.
    async fn also(&mut self, statement: String) {
        self.0.execute(AssertSqlSafe(statement)).await.unwrap();
    }

    pub async fn commit(mut self) {
        self.0.execute("COMMIT").await.unwrap();
    }

    /// Commits once somebody waits for it.
    pub async fn commit_under(self, app: &TestApp) {
        self.is_waited_for(app).await;
        self.commit().await;
    }

    pub async fn is_waited_for(&self, app: &TestApp) {
        eventually("somebody to wait", || async {
            let waiting: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
            )
            .fetch_one(&mut app.database().await)
            .await
            .unwrap();
            (waiting > 0).then_some(())
        })
        .await;
    }
}
