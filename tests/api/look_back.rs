//! Looks at the database for what other processes ended: however much that is, nobody is let in by what was remembered.

use std::{net::IpAddr, sync::Arc, time::Duration};

use chrono::TimeDelta;
use crypto::signing_keys::SigningKeys;
use domain::{clock::Clock, role::Role};
use mapleai::service::{Services, health::Databases};
use mapleai::{app::build, lifecycle::Lifecycle};
use people::look_back::Pages;
use provider::Registry;
use serde_json::json;
use store::Database;
use uuid::Uuid;

use crate::support::{
    TestApp,
    accounts::{PASSWORD, Person, register},
};

const CREDENTIALS: usize = 5;
const BACK: TimeDelta = TimeDelta::minutes(1);
const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
/// Several pages that hold all, and one that does not.
const BOUNDS: [Pages; 2] = [Pages { rows: 2, max: 10 }, Pages { rows: 2, max: 1 }];

/// The services of another process, which believes what it remembers for an hour, and hears of nothing by itself.
fn deaf(app: &TestApp) -> Services {
    let mut config = app.config.clone();
    config.auth.lookup_ttl = Duration::from_hours(1);
    let (clock, lifecycle) = (Clock::system(), Lifecycle::default());
    let keys = SigningKeys::new(&config.auth.signing_keys, &config.auth.active_key).unwrap();
    let databases = Databases {
        primary: Database::new(&config.database).unwrap(),
        replicas: Vec::new(),
    };
    let registry = Arc::new(Registry::build(&config.providers, &config.models, config.cache.answers).unwrap());
    let caches = build::caches(&config, None, &keys, &clock, &lifecycle).unwrap();
    build::services(
        &config, &databases, &keys, &caches, registry, &clock, &lifecycle, None, None,
    )
    .unwrap()
}

async fn run(app: &TestApp, statement: &'static str, ada: &Person) {
    let user: Uuid = ada.id.parse().unwrap();
    let done = sqlx::query(statement)
        .bind(user)
        .execute(&mut app.database().await)
        .await;
    assert!(done.unwrap().rows_affected() > 0);
}

/// Access tokens of as many sessions.
async fn sign_in(app: &TestApp, ada: &Person) -> Vec<String> {
    let mut tokens = Vec::new();
    for _ in 0..CREDENTIALS {
        let sign_in = json!({"email": ada.email, "password": PASSWORD});
        let session = app.client.post("/api/auth/login", &sign_in).await.ok(200);
        tokens.push(session["access_token"].as_str().unwrap().to_owned());
    }
    tokens
}

/// The roles of those who are let in.
async fn let_in(services: &Services, tokens: &[String]) -> Vec<Role> {
    let mut roles = Vec::new();
    for token in tokens {
        roles.extend(
            services
                .sessions
                .authenticate_token(token)
                .await
                .map(|owner| owner.role)
                .ok(),
        );
    }
    roles
}

#[tokio::test]
async fn every_session_that_ended_is_over() {
    let app = TestApp::start().await;
    for pages in BOUNDS {
        let ada = register(&app).await;
        let tokens = sign_in(&app, &ada).await;
        let other = deaf(&app);
        assert_eq!(let_in(&other, &tokens).await.len(), CREDENTIALS);
        // All in one moment: only their ids tell one page from the next.
        run(&app, "UPDATE sessions SET ended_at = now() WHERE user_id = $1", &ada).await;
        assert_eq!(let_in(&other, &tokens).await.len(), CREDENTIALS, "remembered");
        other.sessions.take_note_of_ended(BACK, pages).await.unwrap();
        assert_eq!(let_in(&other, &tokens).await, [], "{pages:?}");
    }
}

#[tokio::test]
async fn every_session_of_somebody_with_another_role_has_that_role() {
    let app = TestApp::start().await;
    for pages in BOUNDS {
        let ada = register(&app).await;
        let tokens = sign_in(&app, &ada).await;
        let other = deaf(&app);
        assert_eq!(let_in(&other, &tokens).await, [Role::Owner; CREDENTIALS]);
        let demote = "UPDATE users SET role = 'member', created_at = created_at - interval '1 hour', updated_at = now() WHERE id = $1";
        run(&app, demote, &ada).await;
        assert_eq!(let_in(&other, &tokens).await, [Role::Owner; CREDENTIALS], "remembered");
        other.sessions.take_note_of_changed(BACK, pages).await.unwrap();
        assert_eq!(let_in(&other, &tokens).await, [Role::Member; CREDENTIALS], "{pages:?}");
    }
}

#[tokio::test]
async fn every_key_that_was_revoked_is_refused() {
    let app = TestApp::start().await;
    for pages in BOUNDS {
        let ada = register(&app).await;
        let mut keys = Vec::new();
        for _ in 0..CREDENTIALS {
            keys.push(ada.create_key().await.1);
        }
        let other = deaf(&app);
        let good = async || {
            let mut good = 0;
            for key in &keys {
                good += usize::from(other.api_keys.authenticate(key, FROM).await.is_ok());
            }
            good
        };
        assert_eq!(good().await, CREDENTIALS);
        run(&app, "UPDATE api_keys SET revoked_at = now() WHERE user_id = $1", &ada).await;
        assert_eq!(good().await, CREDENTIALS, "remembered");
        other.api_keys.take_note_of_revoked(BACK, pages).await.unwrap();
        assert_eq!(good().await, 0, "{pages:?}");
    }
}
