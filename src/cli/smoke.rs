//! `mapleai smoke URL`: whether a deployed MapleAI does its work, seen from outside. Waits until it is ready, looks at its health, signs in,
//! asks a model twice and once as a stream, signs out, and reads the metrics.
//!
//! Every step prints `ok   <step> (<ms> ms)` or `FAIL <step>: <what was expected, what came>`; `note` and `skip` are no failures.

mod answers;
mod arguments;
mod http;
mod probes;
mod report;

use std::{env, time::Duration};

use ::http::StatusCode;
use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tokio::time::Instant;

use super::CliError;
use arguments::{base_address, timeout};
use http::{Client, REQUEST_TIMEOUT, Reply};
use report::Report;

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
The account to sign in with is in the variables SMOKE_EMAIL and SMOKE_PASSWORD; `mapleai org create` makes one, and `make run` prints its own.
Exits with 0 if all is well, 1 if a step failed, 2 for wrong arguments.")]
pub(super) struct Smoke {
    /// Where people reach MapleAI, such as https://maple.example
    #[arg(value_parser = base_address)]
    url: String,
    /// Its operations listener, such as http://10.0.0.7:9464; without it the metrics are read at URL, if it shows them
    #[arg(value_parser = base_address)]
    ops_url: Option<String>,
    /// Seconds to wait for readiness
    #[arg(long, env = "HEALTH_CHECK_TIMEOUT", default_value = "", hide_default_value = true, value_parser = timeout)]
    timeout: Duration,
    /// The model to ask; otherwise the first chat model on offer
    #[arg(long, env = "SMOKE_MODEL")]
    model: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SmokeError {
    #[error("cannot read the certificate authorities of this system")]
    Certificates(#[source] std::io::Error),
    #[error("{url} is not well: {failed} failed")]
    Unwell { url: String, failed: usize },
}

/// One look at a deployment.
struct Check {
    url: String,
    ops_url: Option<String>,
    timeout: Duration,
    /// By when it has to be alive and ready.
    deadline: Instant,
    model: Option<String>,
    client: Client,
    report: Report,
}

pub(super) fn run(smoke: &Smoke) -> Result<(), CliError> {
    // An argument could be read by everybody on the machine.
    let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let account = set("SMOKE_EMAIL").zip(set("SMOKE_PASSWORD").map(SecretString::from));
    let client = Client::new(&smoke.url, smoke.ops_url.as_deref()).map_err(SmokeError::Certificates)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let failed = runtime.block_on(async {
        let mut check = Check {
            url: smoke.url.clone(),
            ops_url: smoke.ops_url.clone(),
            timeout: smoke.timeout,
            deadline: Instant::now() + smoke.timeout,
            model: smoke.model.clone().filter(|model| !model.is_empty()),
            client,
            report: Report::new(),
        };
        check.everything(account).await;
        check.report.failed()
    });
    if failed > 0 {
        let url = smoke.url.clone();
        return Err(SmokeError::Unwell { url, failed }.into());
    }
    Ok(())
}

impl Check {
    async fn everything(&mut self, account: Option<(String, SecretString)>) {
        self.report.say(&format!("Checking {}", self.url));
        if self.wait_for("liveness", "/api/health?probe=liveness", "pass").await {
            // Health and answers are looked at even if it is not ready: they give the reason.
            self.wait_for("readiness", "/api/ready", "ready").await;
            self.health().await;
            self.caching().await;
            self.with_account(account).await;
        } else if self.client.has_answered() {
            self.health().await;
            // A password is for MapleAI, and this may be something else.
            self.report.skip("all other steps at URL", "it is not alive");
        } else {
            self.report.skip("all other steps at URL", "nothing there answers");
        }
        if self.ops_url.is_some() || self.client.has_answered() {
            self.metrics().await;
        } else {
            self.report.skip("metrics", "nothing answers");
        }
        if self.report.failed() == 0 {
            self.report.say(&format!("{} is well", self.url));
        }
    }

    async fn with_account(&mut self, account: Option<(String, SecretString)>) {
        let signed_in = self.sign_in(account).await;
        self.choose_model().await;
        let skipped = match self.model.clone() {
            _ if !signed_in => Some("nobody is signed in"),
            None => Some("there is no model to ask"),
            Some(model) => {
                self.answers(&model).await;
                self.stream(&model).await;
                None
            }
        };
        if let Some(reason) = skipped {
            self.report.skip("answers", reason);
            self.report.skip("stream", reason);
        }
        if signed_in {
            self.sign_out().await;
        } else {
            self.report.skip("sign out", "nobody is signed in");
        }
    }

    async fn sign_in(&mut self, account: Option<(String, SecretString)>) -> bool {
        let step = self.report.begin("sign in");
        let Some((email, password)) = account else {
            step.fail("expected an account in SMOKE_EMAIL and SMOKE_PASSWORD, they are not both set");
            return false;
        };
        let login = json!({"email": email, "password": password.expose_secret()});
        let reply = self
            .client
            .post(&self.at("/api/auth/login"), &login, REQUEST_TIMEOUT)
            .await;
        if !reply.is(StatusCode::OK) {
            step.fail(&format!("expected 200, {}", reply.summary()));
            return false;
        }
        match reply.json()["access_token"].as_str() {
            Some(token) if is_bearer_token(token) => self.client.authorize(Some(token.to_owned().into())),
            _ => {
                step.fail("expected an access_token, 200 came without one");
                return false;
            }
        }
        step.ok("");
        true
    }

    async fn sign_out(&mut self) {
        let step = self.report.begin("sign out");
        let reply = self.client.post_nothing(&self.at("/api/auth/logout")).await;
        self.client.authorize(None);
        if reply.is(StatusCode::NO_CONTENT) {
            step.ok("");
        } else {
            step.fail(&format!("expected 204, {}", reply.summary()));
        }
    }

    /// An address of the deployment.
    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    async fn get(&mut self, path: &str) -> Reply {
        self.client.get(&self.at(path), REQUEST_TIMEOUT).await
    }
}

/// RFC 6750, section 2.1: nothing else can be in a bearer token.
fn is_bearer_token(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    !text.is_empty() && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::is_bearer_token;

    #[test]
    fn tokens_are_of_what_a_header_may_hold() {
        assert!(is_bearer_token("eyJ.a-_~+/="));
        for text in ["", "a b", "a\r\nb", "ä"] {
            assert!(!is_bearer_token(text), "{text:?}");
        }
    }
}
