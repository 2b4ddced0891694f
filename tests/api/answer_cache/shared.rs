//! Calls that several callers share: for one place, one memory, and to the end that the provider gave.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt, future::join_all};
use reqwest::Method;
use serde_json::json;
use tokio::sync::Semaphore;

use super::{CHAT, ask, cache, finish, reading, with};
use crate::support::{
    Client, FakeUpstream, Reply, TestApp,
    accounts::{Person, fresh_email, register, registration},
    database::TestDatabase,
    served::Process,
    upstream::{completion, delta},
};

/// A service with one place in flight, which is taken until the gate is opened.
async fn full(queue_timeout: Duration) -> (TestApp, Client, Arc<Semaphore>, tokio::task::JoinHandle<()>) {
    let app = TestApp::start_with(|config| {
        config.admission.max_in_flight = 1;
        config.admission.max_in_flight_per_organization = 1;
        config.admission.queue_length = 1;
        config.admission.queue_timeout = queue_timeout;
    })
    .await;
    let program = register(&app).await.program().await;
    let gate = Arc::new(Semaphore::new(0));
    app.upstream
        .reply(Reply::json(200, &completion("first", None)).not_before(&gate));
    let other = program.clone();
    let occupied = tokio::spawn(async move {
        other
            .post(CHAT, &with(ask("Something else"), "temperature", 1))
            .await
            .ok(200);
    });
    app.upstream.called(1).await;
    (app, program, gate, occupied)
}

#[tokio::test]
async fn equal_calls_wait_for_one_place_between_them() {
    let (app, program, gate, occupied) = full(Duration::from_secs(5)).await;
    let question = ask("All at once");
    let callers = (0..10).map(|_| program.post(CHAT, &question));
    let opened = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(app.upstream.calls().len(), 1, "there is no place");
        gate.add_permits(1);
    };
    let (answers, ()) = tokio::join!(join_all(callers), opened);
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(answers.iter().filter(|answer| cache(answer) == "miss").count(), 1);
    assert_eq!(app.upstream.calls().len(), 2, "one call for ten");
    occupied.await.unwrap();
}

#[tokio::test]
async fn if_there_is_none_all_of_them_are_told() {
    let (app, program, gate, occupied) = full(Duration::from_millis(300)).await;
    let question = ask("All at once");
    let asked = Instant::now();
    let answers = join_all((0..5).map(|_| program.post(CHAT, &question))).await;
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    for answer in &answers {
        answer.openai_error(429, "organization_limit");
        assert!(!answer.header("retry-after").is_empty());
    }
    app.upstream.only_call();
    gate.add_permits(1);
    occupied.await.unwrap();
    // Nothing of it is left behind.
    assert_eq!(cache(&program.post(CHAT, &question).await), "miss");
}

#[tokio::test]
async fn a_stream_ends_as_the_provider_ended_it() {
    let (app, program) = super::start().await;
    let told = json!({"error": {"message": "overloaded"}});
    let replies = [
        Reply::events().text("a").event(&finish("stop")).ended(),
        Reply::events().text("a").event(&told).ended(),
        Reply::events().text("a").event(&told).done(),
        Reply::events().text("a").usage(7, 3).event(&told).ended(),
        Reply::events().text("a").event(&told).usage(7, 3).done(),
    ];
    for (number, reply) in replies.into_iter().enumerate() {
        let mut ends = Vec::new();
        for temperature in [0, 1] {
            app.upstream.reply(reply.clone());
            let question = with(ask(&format!("number {number}")), "stream", true);
            let question = with(question, "stream_options", json!({"include_usage": true}));
            let answer = program.post(CHAT, &with(question, "temperature", temperature)).await;
            assert_eq!(cache(&answer), ["miss", "bypass"][temperature]);
            ends.push(answer.text());
        }
        assert_eq!(ends[0], ends[1], "with the cache as without");
        // An error ends it, whatever follows.
        assert!(!ends[0].contains("[DONE]"), "{}", ends[0]);
    }
}

const MAX_REMEMBERED: u64 = 64 * 1024;
const PIECE: usize = 64 * 1024;
/// 96 MiB in all.
const PIECES: usize = 1_536;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_no_further_or_waits_for_the_whole_keeps_nothing_in_memory() {
    let database = TestDatabase::create().await;
    let (folder, upstream) = (tempfile::tempdir().unwrap(), FakeUpstream::start().await);
    let longest = MAX_REMEMBERED.to_string();
    let variables = [("MAPLE__CACHE__ANSWER_MAX_BYTES", longest.as_str())];
    let process = Process::start(folder.path(), &database.url, &upstream, &variables);
    let tokens = process
        .client
        .post("/api/auth/register", &registration(&fresh_email()))
        .await
        .ok(201);
    let program = Person::of(&process.client, &tokens).program().await;

    let gate = Arc::new(Semaphore::new(0));
    let piece = Bytes::from(format!("data: {}\n\n", delta(&"x".repeat(PIECE))));
    let reply = Reply::events().text("first").gate(&gate);
    let reply = (0..PIECES).fold(reply, |reply, _| reply.chunk(piece.clone()));
    upstream.reply(reply.event(&finish("stop")).done());
    let question = with(ask("At length"), "stream", true);
    let (status, mut leader) = reading(&program, &question, "first").await;
    assert_eq!(status, "miss");
    let (status, stalled) = reading(&program, &question, "first").await;
    assert_eq!(status, "coalesced");
    let whole = ask("At length");
    let patient = tokio::spawn({
        let program = program.clone();
        async move { program.post(CHAT, &whole).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(upstream.calls().len(), 1, "the one who wants the whole waits for it");

    let before = process.peak_memory();
    gate.add_permits(1);
    let (mut read, mut end) = (0, String::new());
    while let Some(piece) = leader.next().await {
        read += piece.len();
        end.push_str(&piece);
        end = end.split_off(end.len().saturating_sub(100));
        if read > 8 * 1024 * 1024 && read < 9 * 1024 * 1024 {
            // Too long to be given whole: it is asked for anew long before the end.
            upstream.called(2).await;
        }
    }
    assert!(
        read > PIECE * PIECES && end.ends_with("data: [DONE]\n\n"),
        "{read} bytes: {end}"
    );
    let grown = process.peak_memory().saturating_sub(before);
    assert!(grown < 40 * 1024 * 1024, "{} MiB", grown / 1024 / 1024);
    let whole = patient.await.unwrap();
    assert_eq!(whole.ok(200)["choices"][0]["message"]["content"], "Hello there");
    let rest: String = stalled.collect::<Vec<_>>().await.concat();
    assert!(
        !rest.contains("[DONE]") && rest.len() < 64 * 1024 * 1024,
        "{} bytes",
        rest.len()
    );
}

#[tokio::test]
async fn a_reader_is_woken_for_the_end_after_an_event_that_is_not_for_it() {
    let (app, program) = super::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let reply = Reply::events().text("Hello").event(&finish("stop"));
    // The usage chunk, which the caller did not ask for, comes alone.
    let reply = reply.pause(Duration::from_millis(100)).usage(7, 3).gate(&gate).done();
    app.upstream.reply(reply);
    let (_, rest) = reading(&program, &with(ask("In parts"), "stream", true), "Hello").await;
    let opened = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        gate.add_permits(1);
    };
    let rest = tokio::time::timeout(Duration::from_secs(5), rest.collect::<Vec<_>>());
    let (rest, ()) = tokio::join!(rest, opened);
    assert!(rest.expect("its end").concat().ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn options_that_say_null_are_not_said_twice() {
    let (app, program) = super::start().await;
    for (temperature, wanted) in [(0, "miss"), (1, "bypass")] {
        let body = format!(
            r#"{{"model": "maple-chat", "temperature": {temperature}, "stream": true, "stream_options": null,
                "messages": [{{"role": "user", "content": "Hi"}}]}}"#
        );
        let request = program
            .request(Method::POST, CHAT)
            .header("content-type", "application/json");
        let answer = crate::support::Answer::of(request.body(body)).await;
        assert_eq!((answer.status.as_u16(), cache(&answer)), (200, wanted));
    }
    for call in app.upstream.calls() {
        let sent = String::from_utf8_lossy(&call.body).into_owned();
        assert_eq!(sent.matches("stream_options").count(), 1, "{sent}");
        assert_eq!(call.json()["stream_options"], json!({"include_usage": true}));
    }
}

#[tokio::test]
async fn streams_that_are_remembered_leave_their_connection_to_the_next() {
    let app = TestApp::start().await;
    let program = register(&app).await.program().await;
    for number in 0..5 {
        let question = with(ask(&format!("Question {number}")), "stream", true);
        let answer = program.post(CHAT, &question).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-maple-cache")), (200, "miss"));
        assert!(answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
        // The answer's end is read when the next call looks for a connection.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(app.upstream.calls().len(), 5);
    // One more may have been opened for the list of models.
    assert!(app.upstream.connections() <= 2, "{}", app.upstream.connections());
}
