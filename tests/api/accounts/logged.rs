//! The security log: enough to see who tried what from where, and nothing that is anybody's secret.

use serde_json::json;

use crate::support::{
    FakeUpstream,
    accounts::{PASSWORD, Person, fresh_email, registration},
    database::TestDatabase,
    served::Process,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sign_ins_and_what_gives_or_takes_rights_are_logged() {
    let database = TestDatabase::create().await;
    let upstream = FakeUpstream::start().await;
    let folder = tempfile::TempDir::new().unwrap();
    let mut process = Process::start(folder.path(), &database.url, &upstream, &[]);
    let client = process.client.clone();
    let (email, nobody) = (fresh_email(), fresh_email());
    let tokens = client.post("/api/auth/register", &registration(&email)).await.ok(201);
    let ada = Person::of(&client, &tokens);
    process.told("organization registered");

    let login = |email: &str, password: &str| {
        let (client, body) = (client.clone(), json!({"email": email, "password": password}));
        async move { client.post("/api/auth/login", &body).await }
    };
    login(&email, "a wrong one").await.problem(401, "invalid_credentials");
    let known = process.told("sign-in failed");
    assert_eq!(known["user_id"], ada.id.as_str(), "{known}");
    login(&nobody, "a wrong one").await.problem(401, "invalid_credentials");
    let unknown = process.told("sign-in failed");
    assert!(unknown.get("user_id").is_none(), "{unknown}");
    // The same address is told by the same name, another by another.
    login(&nobody.to_uppercase(), "a wrong one")
        .await
        .problem(401, "invalid_credentials");
    let again = process.told("sign-in failed");
    assert_eq!(again["email_hash"], unknown["email_hash"]);
    assert_ne!(known["email_hash"], unknown["email_hash"]);
    login(&email, PASSWORD).await.ok(200);
    let entered = process.told("signed in");
    for line in [&known, &unknown, &entered] {
        assert_eq!(
            (&line["address"], &line["target"]),
            (&json!("127.0.0.1"), &json!("mapleai::security")),
            "{line}"
        );
        let text = line.to_string();
        assert!(
            !text.contains(&email) && !text.contains(&nobody) && !text.contains("a wrong one"),
            "{line}"
        );
    }

    let invited = json!({"email": fresh_email(), "role": "member"});
    let invitation = ada.client.post("/api/invitations", &invited).await.ok(201);
    let id = invitation["id"].as_str().unwrap();
    ada.client.delete(&format!("/api/invitations/{id}")).await.ok(204);
    assert_eq!(process.told("invitation withdrawn")["invitation_id"], id);
    let (key, _) = ada.create_key().await;
    assert_eq!(process.told("API key created")["key_id"], key.as_str());
    let conversation = ada.conversation().await;
    ada.client
        .delete(&format!("/api/conversations/{conversation}"))
        .await
        .ok(204);
    assert_eq!(
        process.told("conversation deleted")["conversation_id"],
        conversation.as_str()
    );
    ada.client
        .post("/api/auth/confirm", &json!({"password": "wrong"}))
        .await
        .problem(403, "wrong_password");
    assert_eq!(process.told("password not confirmed")["user_id"], ada.id.as_str());
    process.kill();
}
