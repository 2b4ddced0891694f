use secrecy::SecretString;

use super::{Author, DateTime, Finished, Message, MessageId, MessageStatus, OrganizationId, Sealer, Spool};

fn spool(directory: &std::path::Path, secret: &str) -> Spool {
    let secrets: [SecretString; 1] = [secret.repeat(32).into()];
    Spool::new(directory, Sealer::new("tests", &secrets).unwrap())
}

fn finished(content: &str) -> Finished {
    let answer = Message {
        id: MessageId::generate(),
        author: Author::Assistant,
        content: content.to_owned(),
        thoughts: None,
        model: None,
        status: MessageStatus::Complete,
        ending: None,
        created_at: DateTime::UNIX_EPOCH,
    };
    Finished::new(OrganizationId::generate(), &answer, &[], DateTime::UNIX_EPOCH)
}

#[tokio::test]
async fn an_answer_is_put_aside_sealed_and_found_again() {
    let directory = tempfile::tempdir().unwrap();
    assert!(spool(directory.path(), "a").put(finished("Confidential")).await);
    let again = spool(directory.path(), "a");
    let files = again.list().await;
    let raw = std::fs::read(&files[0]).unwrap();
    assert!(!String::from_utf8_lossy(&raw).contains("Confidential"));
    let found = again.read(files[0].clone()).await.unwrap();
    assert_eq!(found.message().content, "Confidential");
    again.done(files[0].clone(), None).await;
    assert!(again.list().await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_read_is_set_aside_and_not_deleted() {
    let directory = tempfile::tempdir().unwrap();
    assert!(spool(directory.path(), "a").put(finished("x")).await);
    let other = spool(directory.path(), "b");
    let file = other.list().await.remove(0);
    assert!(other.read(file.clone()).await.is_none());
    assert!(other.list().await.is_empty());
    assert!(file.with_extension("damaged").exists());
}
