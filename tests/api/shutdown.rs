//! Stopping ends, keeps what is to be kept, and says so to whoever is still reading.

use std::time::Duration;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};

use sqlx::PgConnection;

use crate::support::{Reply, TestApp, accounts::register, database::TestDatabase, upstream::completion};

/// All limits of the drain together, with the short ones of these tests: a bound on "ends", not a speed.
const ENDS_WITHIN: Duration = Duration::from_secs(15);

#[tokio::test]
async fn an_open_stream_is_ended_with_a_word_and_recorded() {
    let app = TestApp::start().await;
    let program = register(&app).await.program().await;
    app.upstream.reply(Reply::events().text("Hello").stall());
    let ask = json!({"model": "maple-chat", "messages": [], "stream": true});
    let mut events = program.stream("/v1/chat/completions", &ask).await;
    events.next().await.unwrap();

    let reading = tokio::spawn(async move { events.rest().await });
    let stopped = tokio::time::timeout(ENDS_WITHIN, app.stop())
        .await
        .expect("stop() must end");
    let rest = reading.await.unwrap();
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert_eq!(rest[0].json()["error"]["code"], "shutting_down");

    let (database, upstream) = stopped;
    upstream.hung_up().await;
    let mut database = database.as_ref().unwrap().connection().await;
    let outcomes: Vec<(String, bool)> = sqlx::query_as("SELECT outcome, estimated FROM usage_records")
        .fetch_all(&mut database)
        .await
        .unwrap();
    // Our own end is no failure of the provider.
    assert_eq!(outcomes, [("cancelled".to_owned(), true)]);
}

#[tokio::test]
async fn a_request_under_way_is_finished() {
    let app = TestApp::start_with(|config| config.server.drain_timeout = Duration::from_secs(10)).await;
    let program = register(&app).await.program().await;
    let reply = Reply::events()
        .text("one")
        .pause(Duration::from_millis(400))
        .text("two")
        .usage(3, 2);
    app.upstream.reply(reply.done());
    let ask = json!({"model": "maple-chat", "messages": [], "stream": true});
    let mut events = program.stream("/v1/chat/completions", &ask).await;
    events.next().await.unwrap();
    let address = app.address;
    let reading = tokio::spawn(async move { events.rest().await });
    let (database, _upstream) = tokio::time::timeout(ENDS_WITHIN, app.stop())
        .await
        .expect("stop() must end");
    assert_eq!(reading.await.unwrap().last().unwrap().data, "[DONE]");
    assert!(
        tokio::net::TcpStream::connect(address).await.is_err(),
        "nobody listens any more"
    );
    let mut database = database.as_ref().unwrap().connection().await;
    let outcome: (String, i64) = sqlx::query_as("SELECT outcome, output_tokens FROM usage_records")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(outcome, ("completed".to_owned(), 2));
}

/// More than sockets hold: most of it waits in the service for its reader.
const LARGE: usize = 12 << 20;

#[tokio::test]
async fn an_answer_that_is_read_slowly_is_given_in_full() {
    let app = TestApp::start_with(|config| config.server.drain_timeout = Duration::from_secs(15)).await;
    let program = register(&app).await.program().await;
    let answer = completion(&"x".repeat(LARGE), Some((1, 1))).to_string();
    app.upstream.reply(Reply::whole(200, &[], answer.clone()));

    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut connection = socket.connect(app.address).await.unwrap();
    let body = json!({"model": "maple-chat", "messages": []}).to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: maple.test\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        program.bearer().unwrap(),
        body.len()
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    connection.readable().await.unwrap();

    // Longer than a connection may be idle while the service drains.
    let reading = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(3_500)).await;
        let mut read = Vec::new();
        let end = tokio::time::timeout(ENDS_WITHIN, connection.read_to_end(&mut read)).await;
        (end.expect("the answer must end").is_ok(), read)
    });
    app.stop().await;
    let (ended_well, read) = reading.await.unwrap();
    let read = String::from_utf8(read).unwrap();
    let (_, received) = read.split_once("\r\n\r\n").unwrap();
    assert_eq!((received.len(), ended_well), (answer.len(), true));
    assert!(received == answer, "what came is not what was sent");
}

#[tokio::test]
async fn records_and_notes_that_still_wait_are_written() {
    // A batch that would wait for an hour to fill.
    let app = TestApp::start_with(|config| config.usage.flush_interval = Duration::from_millis(1_500)).await;
    let program = register(&app).await.program().await;
    for _ in 0..10 {
        program
            .post("/v1/chat/completions", &json!({"model": "maple-chat", "messages": []}))
            .await
            .ok(200);
    }
    let (database, _upstream) = tokio::time::timeout(ENDS_WITHIN, app.stop())
        .await
        .expect("stop() must end");
    let mut database = database.as_ref().unwrap().connection().await;
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM usage_records")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(count, 10);
    let noted: bool = sqlx::query_scalar("SELECT bool_and(last_used_at IS NOT NULL) FROM api_keys")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert!(noted, "the key's last use was lost");
}

#[tokio::test]
async fn an_answer_on_its_way_to_a_person_is_kept() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let conversation = ada.conversation().await;
    app.upstream.reply(Reply::events().text("Half an").stall());
    let path = format!("/api/conversations/{conversation}/messages");
    let mut events = ada.client.stream(&path, &json!({"content": "Tell me"})).await;
    events.until("delta").await;
    let reading = tokio::spawn(async move { events.rest().await });
    let (database, _upstream) = tokio::time::timeout(ENDS_WITHIN, app.stop())
        .await
        .expect("stop() must end");
    let rest = reading.await.unwrap();
    assert_eq!(
        (rest[0].name.as_str(), &rest[0].json()["code"]),
        ("error", &json!("shutting_down")),
        "{rest:?}"
    );
    let mut database = database.as_ref().unwrap().connection().await;
    let kept: (String, String) = sqlx::query_as("SELECT content, status FROM messages WHERE author = 'assistant'")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(kept, ("Half an".to_owned(), "partial".to_owned()));
}

#[tokio::test]
async fn readiness_says_no_before_the_door_closes() {
    let app = TestApp::start_with(|config| config.server.drain_delay = Duration::from_secs(1)).await;
    assert_eq!(
        app.client.get("/api/ready").await.ok(200),
        json!({"status": "ready", "pending": [], "checks": {"application_started": true, "database_migrations": true, "cache_warmup": true}})
    );
    let client = app.client.clone();
    let stopping = tokio::spawn(app.stop());
    let refused = async {
        loop {
            let answer = client.get("/api/ready").await;
            if answer.status == 503 {
                return answer.json();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let body = tokio::time::timeout(Duration::from_secs(1), refused)
        .await
        .expect("told before the door closes");
    assert_eq!(
        body,
        json!({"status": "not_ready", "pending": ["draining"], "checks": {"application_started": true, "database_migrations": true, "cache_warmup": true}})
    );
    client.get("/api/models").await.ok(200);
    tokio::time::timeout(ENDS_WITHIN, stopping)
        .await
        .expect("stop() must end")
        .unwrap();
}

/// Connections to a database, beside the one that looks.
async fn others(database: &mut PgConnection) -> i64 {
    let connections = "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
    sqlx::query_scalar(connections).fetch_one(database).await.unwrap()
}

#[tokio::test]
async fn connections_to_the_database_and_to_its_replicas_are_closed() {
    let (analytics, reporting) = (TestDatabase::create().await, TestDatabase::create().await);
    let app = TestApp::start_with(|config| {
        config.database.analytics_url = Some(analytics.url.clone().into());
        config.database.reporting_url = Some(reporting.url.clone().into());
    })
    .await;
    let ada = register(&app).await;
    let mut databases = [
        app.database().await,
        analytics.connection().await,
        reporting.connection().await,
    ];
    ada.client.get("/api/usage?from=2025-06-01&to=2025-06-30").await.ok(200);
    app.server.services().activity.publish().await.unwrap();
    for database in &mut databases {
        assert!(others(database).await > 0, "nothing there to be closed");
    }
    // Whoever still holds a handle, as a task may, must not keep the connections open.
    let _held = app.server.services().clone();
    let _database = tokio::time::timeout(ENDS_WITHIN, app.stop())
        .await
        .expect("stop() must end");
    for database in &mut databases {
        let mut left = others(database).await;
        for _ in 0..100 {
            if left == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            left = others(database).await;
        }
        assert_eq!(left, 0);
    }
}
