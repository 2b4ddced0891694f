//! Several who want something of one conversation at the same moment.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{ask_path, messages, start};
use crate::support::{Reply, eventually, locks::Uncommitted};

/// Public reports: epam/ai-dial-chat #8688, LibreChat #3858.
#[tokio::test]
async fn one_answer_at_a_time_is_written_in_a_conversation() {
    let (app, ada) = start().await;
    let conversation = ada.conversation().await;
    let again = format!("/api/conversations/{conversation}/regenerate");
    let gate = Arc::new(Semaphore::new(0));
    app.upstream.reply(Reply::events().text("First").gate(&gate).done());
    let mut events = ada
        .client
        .stream(&ask_path(&conversation), &json!({"content": "One"}))
        .await;
    events.until("delta").await;
    let second = json!({"content": "Two"});
    let refused = ada.client.post(&ask_path(&conversation), &second).await;
    refused.problem(409, "answer_in_progress");
    ada.client
        .post(&again, &json!({}))
        .await
        .problem(409, "answer_in_progress");
    assert_eq!(messages(&ada.client, &conversation).await.len(), 2);
    // Another conversation is not held up.
    let other = ada.conversation().await;
    ada.client.stream(&ask_path(&other), &second).await.until("done").await;
    gate.add_permits(1);
    events.until("done").await;
    ada.client
        .stream(&ask_path(&conversation), &second)
        .await
        .until("done")
        .await;
    let kept = messages(&ada.client, &conversation).await;
    let texts: Vec<_> = kept
        .iter()
        .map(|message| message["content"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["One", "First", "Two", "Hello there"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_asked_for_again_twice_at_once_is_given_once() {
    let (_app, ada) = start().await;
    let conversation = ada.conversation().await;
    ada.client
        .stream(&ask_path(&conversation), &json!({"content": "One"}))
        .await
        .until("done")
        .await;
    let again = format!("/api/conversations/{conversation}/regenerate");
    let body = json!({});
    let asked = || ada.client.post(&again, &body);
    let both = tokio::join!(asked(), asked(), asked());
    for answer in [both.0, both.1, both.2] {
        assert!([200, 409].contains(&answer.status.as_u16()), "{}", answer.text());
    }
    let kept = messages(&ada.client, &conversation).await;
    let roles: Vec<_> = kept.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant"], "{kept:?}");
}

#[tokio::test]
async fn deleting_a_conversation_ends_its_answer_with_a_word() {
    let (app, ada) = start().await;
    let conversation = ada.conversation().await;
    app.upstream.reply(Reply::events().text("Half an").stall());
    let mut events = ada
        .client
        .stream(&ask_path(&conversation), &json!({"content": "One"}))
        .await;
    events.until("delta").await;
    ada.client
        .delete(&format!("/api/conversations/{conversation}"))
        .await
        .ok(204);
    let error = events.until("error").await.json();
    assert_eq!(
        (&error["code"], &error["reason"]),
        (&json!("deleted"), &json!("deleted"))
    );
    assert_eq!(events.next().await, None);
    app.upstream.hung_up().await;
}

/// Without the look that the writer takes every other second, which finds it out as well: it cannot look.
#[tokio::test]
async fn deleting_a_conversation_ends_its_answer_by_itself() {
    let (app, ada) = start().await;
    let conversation = ada.conversation().await;
    app.upstream.reply(Reply::events().text("Half an").stall());
    let mut events = ada
        .client
        .stream(&ask_path(&conversation), &json!({"content": "One"}))
        .await;
    events.until("delta").await;
    let path = format!("/api/conversations/{conversation}");
    ada.client.delete(&path).await.ok(204);
    let statement = "LOCK TABLE messages IN ACCESS EXCLUSIVE MODE";
    let lock = Uncommitted::change(&app, statement.to_owned()).await;
    app.upstream.hung_up().await;
    lock.commit().await;
    assert_eq!(events.until("error").await.json()["reason"], "deleted");
}

/// In slow motion: the conversation was read, and another instance adds to it before the question is stored.
#[tokio::test]
async fn a_question_to_what_has_changed_meanwhile_is_not_stored() {
    let (app, ada) = start().await;
    let conversation = ada.conversation().await;
    let added = format!(
        "SELECT id FROM conversations WHERE id = '{conversation}' FOR NO KEY UPDATE;
         INSERT INTO messages (id, organization_id, conversation_id, author, content, status, created_at, updated_at)
         SELECT gen_random_uuid(), organization_id, id, 'user', 'From elsewhere', 'complete', now(), now()
         FROM conversations WHERE id = '{conversation}'"
    );
    let uncommitted = Uncommitted::change(&app, added).await;
    let (path, question) = (ask_path(&conversation), json!({"content": "One"}));
    let (asked, ()) = tokio::join!(ada.client.post(&path, &question), uncommitted.commit_under(&app));
    asked.problem(409, "conversation_changed");
    let kept = messages(&ada.client, &conversation).await;
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(app.upstream.calls().is_empty());
}

/// As when another instance deletes it, or an administrator removes its person: this process is not told.
#[tokio::test]
async fn an_answer_that_nobody_may_see_any_more_ends() {
    for behind in ["DELETE FROM conversations", "UPDATE users SET removed_at = now()"] {
        let (app, ada) = start().await;
        let conversation = ada.conversation().await;
        app.upstream.reply(Reply::events().text("Half an").stall());
        let mut events = ada
            .client
            .stream(&ask_path(&conversation), &json!({"content": "One"}))
            .await;
        events.until("delta").await;
        let mut database = app.database().await;
        sqlx::raw_sql(behind).execute(&mut database).await.unwrap();
        assert_eq!(events.until("error").await.json()["reason"], "deleted");
        app.upstream.hung_up().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_that_is_deleted_while_one_asks_is_not_found() {
    let (_app, ada) = start().await;
    for round in 0..20 {
        let conversation = ada.conversation().await;
        let (ask, path) = (ask_path(&conversation), format!("/api/conversations/{conversation}"));
        let (question, later) = (json!({"content": "One"}), Duration::from_micros(300 * round));
        let (asked, deleted) = tokio::join!(ada.client.post(&ask, &question), async {
            tokio::time::sleep(later).await;
            ada.client.delete(&path).await
        });
        assert!([200, 404].contains(&asked.status.as_u16()), "{}", asked.text());
        deleted.ok(204);
    }
}

/// A process that was killed in mid-answer holds up a conversation only until it is taken for dead.
#[tokio::test]
async fn an_answer_whose_writer_died_holds_up_nobody_for_long() {
    let (app, ada) = start().await;
    let conversation = ada.conversation().await;
    app.upstream.reply(Reply::silence());
    let events = ada
        .client
        .stream(&ask_path(&conversation), &json!({"content": "One"}))
        .await;
    app.upstream.called(1).await;
    drop(events);
    super::settled(&ada.client, &conversation).await;
    let mut database = app.database().await;
    let dead = "UPDATE messages SET status = 'streaming', updated_at = now() WHERE author = 'assistant'";
    sqlx::raw_sql(dead).execute(&mut database).await.unwrap();
    let question = json!({"content": "Two"});
    let refused = ada.client.post(&ask_path(&conversation), &question).await;
    refused.problem(409, "answer_in_progress");
    let long_ago = "UPDATE messages SET updated_at = now() - interval '1 minute' WHERE status = 'streaming'";
    sqlx::raw_sql(long_ago).execute(&mut database).await.unwrap();
    ada.client
        .stream(&ask_path(&conversation), &question)
        .await
        .until("done")
        .await;
    // It sweeps as it starts.
    let (_second, _) = app.start_second().await;
    let swept: Value = eventually("the sweep", || async {
        let kept = messages(&ada.client, &conversation).await;
        (kept[1]["status"] != "streaming").then(|| kept[1].clone())
    })
    .await;
    assert_eq!(swept["reason"], "interrupted");
}
