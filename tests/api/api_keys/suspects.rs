//! Who shares a network with somebody who makes credentials up.

use std::time::Duration;

use super::made_up;
use crate::support::{TestApp, accounts::register, locks::Uncommitted};

#[tokio::test]
async fn a_key_in_memory_waits_for_no_look_at_what_others_make_up() {
    let app = TestApp::start_with(|config| {
        config.auth.throttle_per_address = 2;
        config.auth.lookup_ttl = Duration::from_mins(1);
    })
    .await;
    let program = register(&app).await.program().await;
    program.get("/v1/models").await.ok(200);
    for number in 0..4 {
        let refused = app.client.with(&made_up(number)).get("/v1/models").await;
        refused.openai_error(401, "invalid_api_key");
    }
    // The one turn that the network has at a time goes to a look that does not end.
    let statement = "LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE";
    let lock = Uncommitted::change(&app, statement.to_owned()).await;
    let stranger = app.client.with(&made_up(9));
    let looking = tokio::spawn(async move { stranger.get("/v1/models").await });
    lock.is_waited_for(&app).await;
    program.get("/v1/models").await.ok(200);
    assert!(!looking.is_finished(), "it waited for the other");
    lock.commit().await;
    looking.await.unwrap().openai_error(401, "invalid_api_key");
}
