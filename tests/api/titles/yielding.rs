//! A title keeps out of the way of questions, and of other titles.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::Semaphore;

use super::{Beside, MODEL, QUESTION, said, streamed};
use crate::support::{Reply, eventually, upstream::completion};

#[tokio::test]
async fn a_question_ends_a_title_in_progress_which_is_tried_again_when_the_model_is_idle() {
    let beside = Beside::start().await;
    let conversation = beside.conversation().await;
    beside.neighbour.reply(streamed());
    beside.neighbour.reply(Reply::silent());
    assert!(beside.ask(&conversation, QUESTION).await);
    beside.neighbour.called(4).await;
    let gate = Arc::new(Semaphore::new(0));
    beside.neighbour.reply(
        Reply::events()
            .text("Hello")
            .gate(&gate)
            .text(" there")
            .usage(9, 2)
            .done(),
    );
    let path = format!("/api/conversations/{conversation}/messages");
    let mut events = beside
        .ada
        .client
        .stream(&path, &json!({"content": "And in June?"}))
        .await;
    events.until("delta").await;
    eventually("the end of the title's call", || async { beside.calls()[1].hung_up }).await;
    // Not while the answer is being written.
    assert_eq!(beside.calls().len(), 3);
    beside.neighbour.reply(said("A trip in May"));
    gate.add_permits(1);
    events.until("done").await;
    beside.titled(&conversation, "A trip in May").await;
    assert_eq!(beside.calls().len(), 4);
}

#[tokio::test]
async fn a_program_that_asks_the_model_ends_a_title_as_well() {
    let beside = Beside::start().await;
    let conversation = beside.conversation().await;
    beside.neighbour.reply(streamed());
    beside.neighbour.reply(Reply::silent());
    assert!(beside.ask(&conversation, QUESTION).await);
    beside.neighbour.called(4).await;
    beside
        .neighbour
        .reply(Reply::json(200, &completion("Hello there", Some((9, 2)))));
    beside.neighbour.reply(said("A trip in May"));
    let program = beside.ada.program().await;
    let ask = json!({"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]});
    program.post("/v1/chat/completions", &ask).await.ok(200);
    eventually("the end of the title's call", || async { beside.calls()[1].hung_up }).await;
    beside.titled(&conversation, "A trip in May").await;
}

#[tokio::test]
async fn only_so_many_conversations_wait_for_a_title() {
    let beside = Beside::start().await;
    let program = beside.ada.program().await;
    // As long as this is being answered no title is asked for.
    beside.neighbour.reply(Reply::events().text("Hello").stall());
    let ask = json!({"model": MODEL, "stream": true, "messages": [{"role": "user", "content": "Hello"}]});
    let mut open = program.stream("/v1/chat/completions", &ask).await;
    open.next().await.unwrap();
    let mut waiting = 0;
    for _ in 0..6 {
        let conversation = beside.conversation().await;
        waiting += usize::from(beside.ask(&conversation, QUESTION).await);
    }
    assert_eq!(waiting, 4);
    assert_eq!(beside.calls().len(), 7);
}
