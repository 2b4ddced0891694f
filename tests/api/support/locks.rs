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
