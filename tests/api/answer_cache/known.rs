//! Who sends the same bytes again is answered without their being read; nothing else is different.

use reqwest::Method;
use serde_json::json;

use super::{CHAT, ask, cache, start, streamed, text_of, with};
use crate::support::{Answer, Reply, accounts::register, eventually, upstream::completion};

#[tokio::test]
async fn what_is_recognised_is_metered_aged_and_purged_like_any_other_hit() {
    let (app, program) = start().await;
    let owner = register(&app).await;
    let own = owner.program().await;
    for (times, wanted) in [(1, "miss"), (5, "hit")] {
        for _ in 0..times {
            let answer = own.post(CHAT, &ask("Hi")).await;
            assert_eq!((answer.status.as_u16(), cache(&answer)), (200, wanted));
            assert_eq!(answer.header("age"), if wanted == "hit" { "0" } else { "" });
        }
    }
    app.upstream.only_call();
    let count = "SELECT count(*) FROM usage_records WHERE cached AND outcome = 'completed' AND output_tokens > 0";
    eventually("a record of each", || async {
        let hits: i64 = sqlx::query_scalar(count)
            .fetch_one(&mut app.database().await)
            .await
            .unwrap();
        (hits == 5).then_some(())
    })
    .await;
    assert_eq!(
        cache(&program.post(CHAT, &ask("Hi")).await),
        "miss",
        "another organisation"
    );
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    assert_ne!(own.post(CHAT, &ask("Hi")).await.header("age"), "0");

    app.upstream
        .always(Some(Reply::json(200, &completion("new", Some((1, 1))))));
    let reload = own.request(Method::POST, CHAT).header("cache-control", "no-cache");
    assert_eq!(cache(&Answer::of(reload.json(&ask("Hi"))).await), "miss");
    let answer = own.post(CHAT, &ask("Hi")).await;
    assert_eq!(cache(&answer), "hit");
    assert!(answer.text().contains("new"));

    owner
        .client
        .post("/api/cache/purge", &json!({"class": "answer"}))
        .await
        .ok(200);
    assert_eq!(cache(&own.post(CHAT, &ask("Hi")).await), "miss");
    assert_eq!(cache(&own.post(CHAT, &ask("Hi")).await), "hit");
}

#[tokio::test]
async fn the_same_bytes_are_answered_in_the_form_that_they_ask_for() {
    let (app, program) = start().await;
    app.upstream.reply(streamed(&["Par", "is"]));
    let plain = with(ask("Capital?"), "stream", true);
    let counted = with(plain.clone(), "stream_options", json!({"include_usage": true}));
    let mut first = None;
    for round in 0..3 {
        for (body, usage) in [(&plain, false), (&counted, true)] {
            let answer = program.post(CHAT, body).await;
            assert_eq!(answer.header("content-type"), "text/event-stream");
            assert_eq!(text_of(&answer.text()), ("Paris".to_owned(), usage), "{round}");
            let wanted = if first.is_some() { "hit" } else { "miss" };
            assert_eq!(cache(&answer), wanted);
            first.get_or_insert(());
        }
        let whole = program.post(CHAT, &ask("Capital?")).await;
        assert_eq!(
            (whole.header("content-type"), cache(&whole)),
            ("application/json", "hit")
        );
    }
    app.upstream.only_call();
}
