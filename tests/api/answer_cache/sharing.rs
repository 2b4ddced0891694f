//! Whose answers somebody is given: the own ones, unless the organisation shares them.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{CHAT, ask, cache};
use crate::support::{
    Client, Reply, TestApp,
    accounts::{Browser, Person, join, register},
    upstream::completion,
};

async fn share(person: &Person, share: bool) -> Value {
    let change = json!({"share_answers": share});
    person.client.patch("/api/organization", &change).await.ok(200)
}

/// What the cache does for each of the programs, one after the other, twice.
async fn asked(programs: [&Client; 3], question: &str) -> Vec<String> {
    let mut seen = Vec::new();
    for program in [programs, programs].concat() {
        let answer = program.post(CHAT, &ask(question)).await;
        answer.ok(200);
        if cache(&answer) != "hit" {
            assert_eq!(answer.header("age"), "");
        }
        seen.push(cache(&answer).to_owned());
    }
    seen
}

#[tokio::test]
async fn nobody_can_tell_what_a_colleague_has_asked_unless_the_organisation_shares() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let grace = join(&app, &ada, "member").await;
    let (one, other, colleague) = (ada.program().await, ada.program().await, grace.program().await);
    let programs = [&one, &other, &colleague];
    // Both keys are Ada's.
    let private = ["miss", "hit", "miss", "hit", "hit", "hit"];
    assert_eq!(asked(programs, "Draft a resignation letter").await, private);
    let page = ada.client.post(CHAT, &ask("Draft a resignation letter")).await;
    assert_eq!(cache(&page), "hit", "the person without a key");

    // At once, for what is asked by the same bytes, too.
    assert_eq!(share(&ada, true).await["share_answers"], true);
    let shared = ["miss", "hit", "hit", "hit", "hit", "hit"];
    assert_eq!(asked(programs, "Draft a resignation letter").await, shared);
    assert_eq!(share(&ada, false).await["share_answers"], false);
    assert_eq!(
        asked(programs, "Draft a resignation letter").await,
        ["hit"; 6],
        "the own ones"
    );
    assert_eq!(asked(programs, "Something else").await, private);
    assert_eq!(app.upstream.calls().len(), 5);
}

#[tokio::test]
async fn calls_under_way_are_joined_by_their_own_person_only() {
    let app = TestApp::start().await;
    let ada = register(&app).await;
    let grace = join(&app, &ada, "member").await;
    let (one, colleague) = (ada.program().await, grace.program().await);
    for (shared, calls) in [(false, 2), (true, 1)] {
        share(&ada, shared).await;
        let before = app.upstream.calls().len();
        let gate = Arc::new(Semaphore::new(0));
        for _ in 0..calls {
            let reply = Reply::json(200, &completion("Hello", Some((9, 2))));
            app.upstream.reply(reply.not_before(&gate));
        }
        let question = ask(&format!("All at once, shared: {shared}"));
        let opened = async {
            app.upstream.called(before + calls).await;
            if shared {
                // Time for the other to join, or to make a call that would be one too many.
                tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            }
            gate.add_permits(calls);
        };
        let (first, second, ()) = tokio::join!(one.post(CHAT, &question), colleague.post(CHAT, &question), opened);
        let mut seen = [cache(&first), cache(&second)];
        seen.sort_unstable();
        assert_eq!(
            seen,
            if shared {
                ["coalesced", "miss"]
            } else {
                ["miss", "miss"]
            }
        );
        assert_eq!(app.upstream.calls().len(), before + calls);
    }
}

#[tokio::test]
async fn administrators_settle_it_by_program_or_page_and_members_do_not() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let (admin, member) = (join(&app, &owner, "admin").await, join(&app, &owner, "member").await);
    let seen = member.client.get("/api/organization").await.ok(200);
    assert_eq!(
        (&seen["id"], &seen["share_answers"]),
        (&json!(owner.organization), &json!(false))
    );
    let change = json!({"share_answers": true});
    member
        .client
        .patch("/api/organization", &change)
        .await
        .problem(403, "not_allowed");
    share(&admin, true).await;

    let page = Browser::sign_in(&app, &owner).await;
    assert!(page.get("/settings").await.text().contains("Stop sharing answers"));
    let done = page.submit("/settings/cache/sharing", &[("share", "false")]).await;
    assert_eq!(
        (done.status.as_u16(), done.header("location")),
        (303, "/settings?done=unshared")
    );
    assert!(
        page.get("/settings")
            .await
            .text()
            .contains("Share answers within the organisation")
    );
    let page = Browser::sign_in(&app, &member).await;
    assert!(!page.get("/settings").await.text().contains("haring"));
    let refused = page.submit("/settings/cache/sharing", &[("share", "true")]).await;
    assert_eq!(refused.header("location"), "/settings?fault=not_allowed");
    assert_eq!(
        owner.client.get("/api/organization").await.ok(200)["share_answers"],
        false
    );
}
