//! Calls that are joined while they are under way.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::join_all};
use reqwest::Method;
use sqlx::Row;
use tokio::sync::Semaphore;

use super::{CHAT, ask, cache, finish, reading, start, with};
use crate::support::{Answer, Reply, eventually, upstream::completion};

#[tokio::test]
async fn identical_calls_under_way_share_one() {
    let (app, program) = start().await;
    let gate = Arc::new(Semaphore::new(0));
    let whole = Reply::json(200, &completion("Hello", Some((9, 2)))).not_before(&gate);
    app.upstream.reply(whole);
    let question = ask("All at once");
    let callers = (0..50).map(|_| program.post(CHAT, &question));
    let opened = async {
        app.upstream.called(1).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        gate.add_permits(1);
    };
    let (answers, ()) = tokio::join!(join_all(callers), opened);
    let mut statuses: Vec<_> = answers.iter().map(|answer| cache(answer).to_owned()).collect();
    statuses.sort();
    statuses.dedup();
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(statuses, ["coalesced", "miss"]);
    app.upstream.only_call();
    let sums = eventually("a record for each", || async {
        let row = sqlx::query(
            "SELECT count(*) AS records, count(*) FILTER (WHERE cached) AS cached, COALESCE(sum(cost_nanodollars), 0)::bigint AS cost
             FROM usage_records",
        )
        .fetch_one(&mut app.database().await)
        .await
        .unwrap();
        let sums: [i64; 3] = [row.get("records"), row.get("cached"), row.get("cost")];
        (sums[0] == 50).then_some(sums)
    })
    .await;
    assert_eq!(sums, [50, 49, 9 * 2_500 + 2 * 10_000]);
}

#[tokio::test]
async fn a_stream_is_joined_in_the_middle_and_outlives_who_began_it() {
    let (app, program) = start().await;
    let gate = Arc::new(Semaphore::new(0));
    let reply = Reply::events()
        .text("first")
        .gate(&gate)
        .text("second")
        .event(&finish("stop"))
        .usage(7, 3)
        .done();
    app.upstream.reply(reply);
    let body = with(ask("Slowly"), "stream", true);
    let (status, leader) = reading(&program, &body, "first").await;
    assert_eq!(status, "miss");
    let (status, joiner) = reading(&program, &body, "first").await;
    assert_eq!(status, "coalesced");
    // Whoever began it goes; the call goes on for the other.
    drop(leader);
    tokio::time::sleep(Duration::from_millis(200)).await;
    gate.add_permits(1);
    let rest: String = joiner.collect::<Vec<_>>().await.concat();
    assert!(rest.contains("second") && rest.ends_with("data: [DONE]\n\n"), "{rest}");
    assert!(app.upstream.only_call().hung_up.is_none());
    assert_eq!(cache(&program.post(CHAT, &body).await), "hit");
}

#[tokio::test]
async fn the_call_ends_with_its_last_reader() {
    let (app, program) = start().await;
    app.upstream.reply(Reply::events().text("first").stall());
    let body = with(ask("Never"), "stream", true);
    let (_, leader) = reading(&program, &body, "first").await;
    let (_, joiner) = reading(&program, &body, "first").await;
    drop(leader);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(app.upstream.only_call().hung_up.is_none(), "the other still reads");
    drop(joiner);
    app.upstream.hung_up().await;
}

#[tokio::test]
async fn if_the_first_fails_one_of_the_others_tries_again() {
    let (app, program) = start().await;
    let gate = Arc::new(Semaphore::new(0));
    app.upstream.reply(Reply::default().gate(&gate).break_off());
    app.upstream
        .always(Some(Reply::json(200, &completion("second try", Some((1, 1))))));
    let question = ask("Fail first");
    let callers = (0..10).map(|_| program.post(CHAT, &question));
    let opened = async {
        app.upstream.called(1).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        gate.add_permits(1);
    };
    let (answers, ()) = tokio::join!(join_all(callers), opened);
    let failed = answers.iter().filter(|answer| answer.status == 502).count();
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((failed, served), (1, 9), "only who began it is told");
    assert_eq!(app.upstream.calls().len(), 2, "one of the others tried again, for all");
}

#[tokio::test]
async fn callers_of_both_forms_share_a_call() {
    let (app, program) = start().await;
    let gate = Arc::new(Semaphore::new(0));
    app.upstream.reply(
        Reply::events()
            .text("Hel")
            .gate(&gate)
            .text("lo")
            .event(&finish("length"))
            .usage(7, 3)
            .done(),
    );
    let stream = with(ask("Both"), "stream", true);
    let (_, leader) = reading(&program, &stream, "Hel").await;
    let unstreamed = ask("Both");
    let whole = program.post(CHAT, &unstreamed);
    let opened = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        gate.add_permits(1);
        leader.collect::<Vec<_>>().await.concat()
    };
    let (whole, rest) = tokio::join!(whole, opened);
    assert!(rest.contains("lo"), "{rest}");
    assert_eq!(cache(&whole), "coalesced");
    assert_eq!(whole.ok(200)["choices"][0]["message"]["content"], "Hello");
    app.upstream.only_call();
}

/// A caller of the other form than the call that it joins waits for an answer that can be converted. It may meet such calls twice.
#[tokio::test]
async fn who_has_joined_what_cannot_be_converted_is_answered_all_the_same() {
    let (app, program) = start().await;
    let gates = [(); 2].map(|()| Arc::new(Semaphore::new(0)));
    for gate in &gates {
        let reply = Reply::events().text("Hel").gate(gate).event(&finish("content_filter"));
        app.upstream.reply(reply.done());
    }
    let stream = with(ask("Both"), "stream", true);
    let (_, first) = reading(&program, &stream, "Hel").await;
    let whole = tokio::spawn({
        let (program, question) = (program.clone(), ask("Both"));
        async move { program.post(CHAT, &question).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let anew = program.request(Method::POST, CHAT).header("cache-control", "no-cache");
    let second = tokio::spawn(async move { Answer::of(anew.json(&stream)).await });
    app.upstream.called(2).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    gates[0].add_permits(1);
    first.collect::<Vec<_>>().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(app.upstream.calls().len(), 2, "it has joined the second");
    gates[1].add_permits(1);
    assert_eq!(second.await.unwrap().status, 200);
    let whole = whole.await.unwrap();
    assert_eq!(whole.ok(200)["choices"][0]["message"]["content"], "Hello there");
}
