//! Tokens that the provider had from earlier calls, and models without a price.

use serde_json::{Value, json};

use super::{CHAT, ask, record};
use crate::support::{Reply, TestApp, accounts::register, eventually, upstream::completion};

fn answered(usage: Value) -> Reply {
    let mut body = completion("Ten words.", None);
    body["usage"] = usage;
    Reply::json(200, &body)
}

#[tokio::test]
async fn cached_prompt_tokens_have_a_price_and_a_count_of_their_own() {
    let app = TestApp::start_with(|config| config.models[0].cached_input_price = Some("0.25".to_owned())).await;
    let ada = register(&app).await;
    let program = ada.program().await;
    let usages = [
        json!({"prompt_tokens": 10_000, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 9_000}}),
        json!({"prompt_tokens": 10_000, "completion_tokens": 10, "prompt_cache_hit_tokens": 9_000, "prompt_cache_miss_tokens": 1_000}),
    ];
    for (number, usage) in usages.into_iter().enumerate() {
        app.upstream.reply(answered(usage));
        program.post(CHAT, &ask("Hi", false)).await.ok(200);
        let found = record(&app, number + 1).await;
        assert_eq!((found.tokens(), found.cached_input), ((10_000, 10, false), 9_000));
        // 1,000 at 2.50, 9,000 at 0.25 and 10 at 10.00 dollars per million.
        assert_eq!(found.cost, 2_500_000 + 2_250_000 + 100_000);
    }
    let report = ada.client.get("/api/usage").await.ok(200);
    for line in [
        &report["totals"],
        &report["by_model"][0],
        &report["by_key"][0],
        &report["by_day"][0],
    ] {
        assert_eq!(
            (&line["input_tokens"], &line["cached_input_tokens"]),
            (&json!(20_000), &json!(18_000))
        );
    }
    let models = app
        .client
        .with(ada.client.bearer().unwrap())
        .get("/api/models")
        .await
        .ok(200);
    let listed = models["data"].as_array().unwrap();
    let price = |id: &str| {
        let model = listed.iter().find(|model| model["id"] == id).unwrap();
        model["cached_input_price_per_million"].clone()
    };
    assert_eq!(
        (price("maple-chat"), price("maple-embed")),
        (json!("0.25"), json!("0.10"))
    );
}

#[tokio::test]
async fn calls_at_no_price_are_counted() {
    let app = TestApp::start().await;
    let program = register(&app).await.program().await;
    let counted = || async {
        let text = app.client.get("/metrics").await.text();
        let of = |model: &str| {
            text.lines()
                .filter(|line| line.starts_with("maple_unpriced_calls_total") && line.contains(model))
                .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
                .sum::<u64>()
        };
        (of("\"same-name\""), of("\"maple-chat\""))
    };
    let (before, _) = counted().await;
    for model in ["same-name", "maple-chat"] {
        let mut body = ask("Hi", false);
        body["model"] = model.into();
        program.post(CHAT, &body).await.ok(200);
    }
    let priced = eventually("the count", || async {
        let (unpriced, priced) = counted().await;
        (unpriced > before).then_some(priced)
    })
    .await;
    assert_eq!(priced, 0);
}
