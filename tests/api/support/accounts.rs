//! People and programs to test with.

use std::sync::atomic::{AtomicU32, Ordering};

use http::Method;
use serde_json::{Value, json};

use super::{Answer, Client, TestApp};

pub const PASSWORD: &str = "correct horse battery";

/// A signed-in person.
#[derive(Clone)]
pub struct Person {
    pub id: String,
    pub email: String,
    pub organization: String,
    pub refresh_token: String,
    pub access_token: String,
    /// Sends this person's access token.
    pub client: Client,
}

impl Person {
    pub fn of(client: &Client, tokens: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{tokens}")).to_owned();
        let access_token = text(&tokens["access_token"]);
        Self {
            id: text(&tokens["user"]["id"]),
            email: text(&tokens["user"]["email"]),
            organization: text(&tokens["user"]["organization"]["id"]),
            refresh_token: text(&tokens["refresh_token"]),
            client: client.with(&access_token),
            access_token,
        }
    }

    /// A new API key and its id.
    pub async fn create_key(&self) -> (String, String) {
        let created = self
            .client
            .post("/api/keys", &json!({"name": "a program"}))
            .await
            .ok(201);
        (
            created["id"].as_str().unwrap().to_owned(),
            created["key"].as_str().unwrap().to_owned(),
        )
    }

    /// A program of this person's.
    pub async fn program(&self) -> Client {
        let (_, key) = self.create_key().await;
        self.client.with(&key)
    }

    pub async fn conversation(&self) -> String {
        let created = self.client.post("/api/conversations", &json!({})).await.ok(201);
        created["id"].as_str().unwrap().to_owned()
    }
}

/// An address nobody has.
pub fn fresh_email() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("person-{}@maple.test", COUNT.fetch_add(1, Ordering::Relaxed))
}

pub fn registration(email: &str) -> Value {
    json!({"email": email, "password": PASSWORD, "name": "Ada Lovelace", "organization": "Analytical Engines"})
}

/// Registers the owner of a new organisation.
pub async fn register(app: &TestApp) -> Person {
    let tokens = app
        .client
        .post("/api/auth/register", &registration(&fresh_email()))
        .await
        .ok(201);
    Person::of(&app.client, &tokens)
}

/// Invites somebody into the organisation of `inviter`, who accepts.
pub async fn join(app: &TestApp, inviter: &Person, role: &str) -> Person {
    let invitation = inviter
        .client
        .post("/api/invitations", &json!({"email": fresh_email(), "role": role}))
        .await
        .ok(201);
    let accept = json!({"token": invitation["token"], "name": "Grace Hopper", "password": PASSWORD});
    Person::of(
        &app.client,
        &app.client.post("/api/invitations/accept", &accept).await.ok(201),
    )
}

/// A person's browser: the page's cookie, and the anti-forgery token that pages carry.
pub struct Browser {
    pub cookie: String,
    pub csrf_token: String,
    client: Client,
}

impl Browser {
    /// Signs in by the page's form.
    pub async fn sign_in(app: &TestApp, person: &Person) -> Self {
        Self::sign_in_with(app, person, PASSWORD).await
    }

    pub async fn sign_in_with(app: &TestApp, person: &Person, password: &str) -> Self {
        let form = encode(&[("email", &person.email), ("password", password)]);
        let answer = Answer::of(form_request(&app.client, "/sign-in").body(form)).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        Self::with_cookie_of(&app.client, &answer).await
    }

    /// Goes on with the cookie that an answer has set.
    pub async fn with_cookie_of(client: &Client, answer: &Answer) -> Self {
        let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
        Self::with_cookie(client, cookie).await
    }

    /// Goes on with a cookie, by way of this client.
    pub async fn with_cookie(client: &Client, cookie: String) -> Self {
        let page = Answer::of(client.request(Method::GET, "/").header("cookie", &cookie))
            .await
            .text();
        let after = page
            .split("name=\"csrf-token\" content=\"")
            .nth(1)
            .expect("the page has the token");
        let csrf_token = after.split('"').next().unwrap().to_owned();
        Self {
            cookie,
            csrf_token,
            client: client.clone(),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.client.request(Method::GET, path).header("cookie", &self.cookie)).await
    }

    /// Sends a form as the page does.
    pub async fn submit(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut fields = fields.to_vec();
        fields.push(("csrf_token", &self.csrf_token));
        Answer::of(
            form_request(&self.client, path)
                .header("cookie", &self.cookie)
                .body(encode(&fields)),
        )
        .await
    }
}

fn form_request(client: &Client, path: &str) -> reqwest::RequestBuilder {
    client
        .request(Method::POST, path)
        .header("content-type", "application/x-www-form-urlencoded")
}

fn encode(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}
