//! Each action writes one event, with who did it, to what, and what it was before and is after.

use http::Method;
use serde_json::{Value, json};

use super::{events, of_request, send, stored, the_one};
use crate::support::{
    TestApp,
    accounts::{PASSWORD, Person, fresh_email, join, register, registration},
    eventually,
};

/// Does something and gives its answer and its only event.
async fn done(by: &Person, reader: &Person, method: Method, path: &str, body: Option<Value>) -> (Value, Value) {
    let request_id = format!("r-{method}-{path}").replace(['{', '}', '?'], "");
    let answer = send(&by.client, &request_id, method, path, body.as_ref()).await;
    assert!(answer.status.is_success(), "{path}: {}", answer.text());
    let found = of_request(&reader.client, &request_id).await;
    assert_eq!(found.len(), 1, "{path}: {found:?}");
    let event = found[0].clone();
    assert_eq!(event["actor"]["kind"], "user", "{event}");
    assert_eq!(event["actor"]["id"], by.id, "{event}");
    assert_eq!(event["occurrences"], 1, "{event}");
    let answer = if answer.body.is_empty() {
        Value::Null
    } else {
        answer.json()
    };
    (answer, event)
}

fn target(kind: &str, id: &Value, name: impl Into<Value>) -> Value {
    json!({"kind": kind, "id": id, "name": name.into()})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_administrators_do_is_told_with_before_and_after() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let member = join(&app, &owner, "member").await;
    let path = format!("/api/users/{}", member.id);

    let (_, event) = done(&owner, &owner, Method::PATCH, &path, Some(json!({"role": "admin"}))).await;
    assert_eq!(event["action"], "member.role_changed");
    assert_eq!(event["target"], target("member", &json!(member.id), "Grace Hopper"));
    assert_eq!(event["before"], json!({"role": "member"}));
    assert_eq!(event["after"], json!({"role": "admin", "invitations_withdrawn": 0}));
    assert_eq!(event["actor"]["name"], "Ada Lovelace");
    assert_eq!(event["address"], "127.0.0.1");

    let (_, event) = done(
        &owner,
        &owner,
        Method::PATCH,
        "/api/organization",
        Some(json!({"share_answers": true})),
    )
    .await;
    assert_eq!(event["action"], "organization.sharing_changed");
    let organization = target("organization", &json!(owner.organization), "Analytical Engines");
    assert_eq!(event["target"], organization);
    assert_eq!(
        (&event["before"], &event["after"]),
        (&json!({"share_answers": false}), &json!({"share_answers": true}))
    );

    let invited = fresh_email();
    let wanted = json!({"email": invited, "role": "member"});
    let (made, event) = done(&owner, &owner, Method::POST, "/api/invitations", Some(wanted)).await;
    assert_eq!(event["action"], "invitation.created");
    assert_eq!(event["target"], target("invitation", &made["id"], invited));
    assert_eq!(event["after"]["role"], "member");
    let path = format!("/api/invitations/{}", made["id"].as_str().unwrap());
    let (_, event) = done(&owner, &owner, Method::DELETE, &path, None).await;
    assert_eq!(event["action"], "invitation.withdrawn");
    // The address is gone with the invitation.
    assert_eq!(event["target"], target("invitation", &made["id"], Value::Null));
    assert_eq!(event["before"], json!({"role": "member"}));

    let (key, event) = done(
        &member,
        &owner,
        Method::POST,
        "/api/keys",
        Some(json!({"name": "a program"})),
    )
    .await;
    assert_eq!(event["action"], "api_key.created");
    assert_eq!(event["target"], target("api_key", &key["id"], "a program"));
    assert_eq!(event["after"], json!({"owner": member.id, "expires_at": null}));
    let secret = key["key"].as_str().unwrap();
    assert_eq!(stored(&app, &format!("audit_events::text LIKE '%{secret}%'")).await, 0);
    let path = format!("/api/keys/{}", key["id"].as_str().unwrap());
    let (_, event) = done(&owner, &owner, Method::DELETE, &path, None).await;
    assert_eq!(event["action"], "api_key.revoked");
    assert_eq!(event["before"], json!({"owner": member.id, "expires_at": null}));

    let password = json!({"current_password": PASSWORD});
    let deletion = "/api/organization/deletion";
    let (asked, event) = done(&owner, &owner, Method::DELETE, deletion, Some(password)).await;
    assert_eq!(event["action"], "organization.deletion_requested");
    assert_eq!(
        (&event["target"], &event["before"]),
        (&organization, &json!({"delete_after": null}))
    );
    assert_eq!(
        event["after"]["delete_after"].as_str().unwrap()[..16],
        asked["delete_after"].as_str().unwrap()[..16]
    );
    let (_, event) = done(&owner, &owner, Method::POST, deletion, None).await;
    assert_eq!(event["action"], "organization.deletion_cancelled");
    assert_eq!(event["after"], json!({"delete_after": null}));
    // There is nothing to take back any more.
    send(&owner.client, "r-again", Method::POST, deletion, None)
        .await
        .ok(204);
    assert!(of_request(&owner.client, "r-again").await.is_empty());

    let (_, event) = done(
        &owner,
        &owner,
        Method::DELETE,
        &format!("/api/users/{}", member.id),
        None,
    )
    .await;
    assert_eq!(event["action"], "member.removed");
    assert_eq!(event["target"], target("member", &json!(member.id), "Removed person"));
    assert_eq!(event["before"], json!({"role": "admin"}));
    assert_eq!(event["after"]["sessions_ended"], 1);

    let purged = send(
        &owner.client,
        "r-purge",
        Method::POST,
        "/api/cache/purge",
        Some(&json!({})),
    )
    .await;
    assert!(purged.status.is_success());
    let told = eventually("the purge to be told", || async {
        let found = of_request(&owner.client, "r-purge").await;
        (!found.is_empty()).then_some(found)
    })
    .await;
    assert_eq!(the_one(&told, "cache.purged")["after"], json!({"class": "answer"}));
    assert_eq!(told[0]["actor"]["id"], owner.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_do_about_themselves_is_told() {
    let app = TestApp::start_with(|config| config.limits.sessions_per_person = 2).await;
    let owner = register(&app).await;
    let member = join(&app, &owner, "member").await;

    // How they came.
    let all = events(&owner.client, "").await;
    let registered = the_one(&all, "organization.registered");
    assert_eq!(
        (&registered["actor"]["id"], &registered["after"]),
        (&json!(owner.id), &json!({"owner": owner.id}))
    );
    let accepted = the_one(&all, "invitation.accepted");
    assert_eq!(accepted["actor"]["id"], member.id);
    assert_eq!(accepted["after"], json!({"role": "member", "member": member.id}));

    let login = json!({"email": member.email, "password": PASSWORD});
    let tokens = send(&app.client, "r-login", Method::POST, "/api/auth/login", Some(&login))
        .await
        .ok(200);
    let found = of_request(&owner.client, "r-login").await;
    let signed_in = the_one(&found, "session.signed_in");
    assert_eq!(
        (&signed_in["actor"]["id"], &signed_in["after"]["kind"]),
        (&json!(member.id), &json!("program"))
    );
    assert_eq!(found.len(), 1);
    let second = Person::of(&app.client, &tokens);

    // The third is one too many: the oldest ends, by no doing of the person's.
    let third = Person::of(&app.client, &super::sign_in(&app, &member, PASSWORD).await.ok(200));
    let all = events(&owner.client, "?actor=system").await;
    let ended = the_one(&all, "session.ended");
    assert_eq!(
        (&ended["target"]["id"], &ended["after"]["sessions_ended"]),
        (&json!(member.id), &json!(1))
    );

    let (_, event) = done(
        &third,
        &owner,
        Method::POST,
        "/api/auth/confirm",
        Some(json!({"password": PASSWORD})),
    )
    .await;
    assert_eq!(event["action"], "password.confirmed");
    let (_, event) = done(&third, &owner, Method::DELETE, "/api/sessions", None).await;
    assert_eq!(
        (&event["action"], &event["after"]),
        (&json!("session.ended"), &json!({"sessions_ended": 1}))
    );
    second.client.get("/api/users/me").await.problem(401, "unauthenticated");
    let changed = json!({"password": "lantern quiet meadow violin", "current_password": PASSWORD});
    let (_, event) = done(&third, &owner, Method::PATCH, "/api/users/me", Some(changed)).await;
    assert_eq!(event["action"], "password.changed");
    assert_eq!(event["after"], json!({"sessions_ended": 0, "keys_revoked": 0}));
    assert_eq!(
        stored(&app, "audit_events::text LIKE '%lantern quiet meadow violin%'").await,
        0
    );

    let conversation = third.conversation().await;
    let (_, event) = done(
        &third,
        &owner,
        Method::DELETE,
        &format!("/api/conversations/{conversation}"),
        None,
    )
    .await;
    assert_eq!(event["action"], "conversation.deleted");
    assert_eq!(
        event["target"],
        target("conversation", &json!(conversation), Value::Null)
    );
    assert_eq!((&event["before"], &event["after"]), (&Value::Null, &Value::Null));
    let (_, event) = done(&third, &owner, Method::POST, "/api/auth/logout", None).await;
    assert_eq!(
        (&event["action"], &event["target"]["kind"]),
        (&json!("session.signed_out"), &json!("session"))
    );
    let password = json!({"current_password": PASSWORD});
    let other = join(&app, &owner, "member").await;
    let (_, event) = done(&other, &owner, Method::DELETE, "/api/users/me", Some(password)).await;
    assert_eq!(
        (&event["action"], &event["before"]),
        (&json!("account.erased"), &json!({"role": "member"}))
    );
    assert_eq!(
        (&event["actor"]["name"], &event["address"]),
        (&json!("Removed person"), &Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_from_a_change_of_role_is_told_as_well() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let other = join(&app, &owner, "owner").await;
    for role in ["owner", "member"] {
        let wanted = json!({"email": fresh_email(), "role": role});
        other.client.post("/api/invitations", &wanted).await.ok(201);
    }
    let password = json!({"current_password": PASSWORD});
    other
        .client
        .delete_with("/api/organization/deletion", &password)
        .await
        .ok(202);

    let (path, role) = (format!("/api/users/{}", other.id), json!({"role": "admin"}));
    send(&owner.client, "r-demoted", Method::PATCH, &path, Some(&role))
        .await
        .ok(200);
    let found = of_request(&owner.client, "r-demoted").await;
    let changed = the_one(&found, "member.role_changed");
    assert_eq!(changed["after"], json!({"role": "admin", "invitations_withdrawn": 1}));
    let cancelled = the_one(&found, "organization.deletion_cancelled");
    assert_eq!(cancelled["actor"]["id"], owner.id);
    assert_eq!(cancelled["after"]["had_been_requested_by"], other.id);
    assert_eq!(found.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_is_the_clients_and_not_the_proxys() {
    let app = TestApp::start_with(|config| config.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]).await;
    let owner = register(&app).await;
    let login = json!({"email": owner.email, "password": PASSWORD});
    let request = app.client.request(Method::POST, "/api/auth/login").json(&login);
    let forwarded = request
        .header("x-forwarded-for", "203.0.113.9")
        .header("x-request-id", "r-proxied");
    assert_eq!(forwarded.send().await.unwrap().status(), 200);
    let found = of_request(&owner.client, "r-proxied").await;
    assert_eq!(the_one(&found, "session.signed_in")["address"], "203.0.113.9");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_given_up_is_told_to_those_who_lose_it_and_nothing_of_the_others() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let address = fresh_email();
    let stranger = Person::of(
        &app.client,
        &app.client
            .post("/api/auth/register", &registration(&address))
            .await
            .ok(201),
    );
    let wanted = json!({"email": address, "role": "member"});
    let invitation = owner.client.post("/api/invitations", &wanted).await.ok(201);
    let accept = json!({"token": invitation["token"], "name": "Grace", "password": PASSWORD});
    send(
        &app.client,
        "r-accept",
        Method::POST,
        "/api/invitations/accept",
        Some(&accept),
    )
    .await
    .ok(201);

    let theirs = events(&stranger.client, "").await;
    let displaced = the_one(&theirs, "account.address_displaced");
    assert_eq!(displaced["target"]["id"], stranger.id);
    assert_eq!(displaced["actor"], json!({"kind": "system", "id": null, "name": null}));
    assert_eq!(
        (&displaced["address"], &displaced["request_id"]),
        (&Value::Null, &Value::Null)
    );
    let ours = events(&owner.client, "").await;
    assert!(
        ours.iter().all(|event| event["action"] != "account.address_displaced"),
        "{ours:?}"
    );
}
