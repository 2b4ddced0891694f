//! People who write on while a dependency goes and comes back. What they were told is kept is there afterwards, once.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::task::JoinHandle;

use super::BOUND;
use crate::support::{Client, postgres::Postgres};

const COUNT: usize = 3;

pub(super) struct Writers {
    over: Arc<AtomicBool>,
    running: Vec<JoinHandle<Vec<Written>>>,
}

struct Written {
    title: String,
    confirmed: bool,
}

impl Writers {
    /// Each writes one thing after the other, under a title that nobody else uses.
    pub(super) fn start(client: &Client) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let running = (0..COUNT)
            .map(|writer| tokio::spawn(write(client.clone(), writer, Arc::clone(&over))))
            .collect();
        Self { over, running }
    }

    /// Ends them, and looks behind the service.
    pub(super) async fn lost_nothing(self, postgres: &Postgres) {
        // Some of it in the time after the return.
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.over.store(true, Ordering::Relaxed);
        let mut written = Vec::new();
        for writer in self.running {
            written.extend(writer.await.unwrap());
        }
        let mut connection = postgres.connection().await;
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT title, count(*) FROM conversations WHERE title LIKE 'write %' GROUP BY title")
                .fetch_all(&mut connection)
                .await
                .unwrap();
        let kept: HashMap<&str, i64> = rows.iter().map(|(title, count)| (title.as_str(), *count)).collect();
        for (title, count) in &rows {
            assert_eq!(*count, 1, "{title} was written twice");
        }
        let confirmed = written.iter().filter(|write| write.confirmed).count();
        assert!(
            confirmed > 2 * COUNT,
            "only {confirmed} of {} were confirmed",
            written.len()
        );
        for write in &written {
            assert!(
                !write.confirmed || kept.contains_key(write.title.as_str()),
                "{} was confirmed and is lost",
                write.title
            );
        }
        // A refusal is one: only what was under way when the database went may have been written all the same.
        let unconfirmed = rows.len() - confirmed;
        assert!(unconfirmed <= COUNT, "{unconfirmed} writes were refused and made");
    }
}

async fn write(client: Client, writer: usize, over: Arc<AtomicBool>) -> Vec<Written> {
    let mut written = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let title = format!("write {writer}-{}", written.len());
        let asked = Instant::now();
        let answer = client.post("/api/conversations", &json!({"title": title})).await;
        assert!(asked.elapsed() < BOUND, "{} after {:?}", answer.status, asked.elapsed());
        let confirmed = answer.status == 201;
        if !confirmed {
            answer.problem(503, "database_unavailable");
        }
        written.push(Written { title, confirmed });
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    written
}
