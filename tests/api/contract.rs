//! The contract of docs/DEPENDENCIES.md: what each group of routes does in each state of a dependency. Every group is
//! driven at once, in the state and after it, and each cell of the table is asserted with its bound.

mod clock;
mod database;
mod disk;
mod log;
mod provider;
mod redis;
mod strain;
mod writers;

use std::time::{Duration, Instant};

use configuration::Config;
use http::Method;
use serde_json::json;

use crate::support::{
    Answer, Client, TestApp,
    accounts::{Browser, PASSWORD, Person, register},
    postgres::Postgres,
};

/// The table's column: what a group answers, with the error's code where it is one.
type Expected = (u16, &'static str);

/// No answer takes longer in any state, but health's, which has five seconds.
const BOUND: Duration = Duration::from_secs(2);
const HEALTH_BOUND: Duration = Duration::from_secs(5);
/// After a dependency's return everything works within this, with no restart.
const RECOVERY: Duration = Duration::from_secs(10);

/// Everything that a group of routes needs to be driven.
struct World {
    app: TestApp,
    ada: Person,
    operations: Client,
    /// Its key has been used, so the process knows it.
    known: Client,
    /// Its key has not.
    unknown: Client,
    conversation: String,
    browser: Browser,
}

/// What each group answers. `ok` for all of them is what is normal.
#[derive(Debug, Clone, Copy)]
struct Row {
    read: Expected,
    write: Expected,
    sign_in: Expected,
    page: Expected,
    ask: Expected,
    known_key: Expected,
    unknown_key: Expected,
    health: u16,
}

const NORMAL: Row = Row {
    read: (200, ""),
    write: (201, ""),
    sign_in: (200, ""),
    page: (200, ""),
    ask: (200, ""),
    known_key: (200, ""),
    unknown_key: (200, ""),
    health: 200,
};

impl World {
    async fn on(postgres: &Postgres) -> Self {
        Self::with(postgres, |_| {}).await
    }

    async fn with(postgres: &Postgres, change: impl FnOnce(&mut Config)) -> Self {
        let app = TestApp::start_on(&postgres.url(), |config| {
            // Long enough that what is known at the start of an outage is known to its end.
            config.auth.lookup_ttl = Duration::from_mins(1);
            config.database.max_connections = 8;
            change(config);
        })
        .await;
        Self::over(app).await
    }

    async fn over(app: TestApp) -> Self {
        let ada = register(&app).await;
        let operations = Client::new(app.server.ops_address().expect("an operations listener"));
        let known = ada.program().await;
        let unknown = ada.program().await;
        known.get("/v1/models").await.ok(200);
        let conversation = ada.conversation().await;
        let browser = Browser::sign_in(&app, &ada).await;
        ada.client.get("/api/invitations").await.ok(200);
        Self {
            app,
            ada,
            operations,
            known,
            unknown,
            conversation,
            browser,
        }
    }

    /// Drives all groups at once, and gives what was not as the table says.
    async fn deviations(&self, row: &Row) -> Vec<String> {
        let chat = json!({"model": "maple-chat", "messages": [{"role": "user", "content": "Hi"}]});
        let login = json!({"email": self.ada.email, "password": PASSWORD});
        let (client, ada) = (&self.app.client, &self.ada.client);
        let ask = format!("/api/conversations/{}/messages", self.conversation);
        let cells = futures_util::future::join_all(vec![
            cell("read", ada.request(Method::GET, "/api/invitations"), row.read),
            cell("keys", ada.request(Method::GET, "/api/keys"), row.read),
            cell("usage", ada.request(Method::GET, "/api/usage"), row.read),
            cell(
                "write",
                ada.request(Method::POST, "/api/conversations").json(&json!({})),
                row.write,
            ),
            cell(
                "sign-in",
                client.request(Method::POST, "/api/auth/login").json(&login),
                row.sign_in,
            ),
            cell(
                "page",
                client
                    .request(Method::GET, "/keys")
                    .header("cookie", &self.browser.cookie),
                row.page,
            ),
            cell(
                "ask",
                ada.request(Method::POST, &ask).json(&json!({"content": "Hi"})),
                row.ask,
            ),
            cell(
                "known key",
                self.known.request(Method::POST, "/v1/chat/completions").json(&chat),
                row.known_key,
            ),
            cell(
                "models of a known key",
                self.known.request(Method::GET, "/v1/models"),
                (200, ""),
            ),
            cell(
                "unknown key",
                self.unknown.request(Method::GET, "/v1/models"),
                row.unknown_key,
            ),
            cell("catalogue", client.request(Method::GET, "/api/models"), (200, "")),
            cell("sign-in page", client.request(Method::GET, "/sign-in"), (200, "")),
            cell(
                "liveness",
                client.request(Method::GET, "/api/health?probe=liveness"),
                (200, ""),
            ),
            cell("ready", client.request(Method::GET, "/api/ready"), (200, "")),
            cell("health", client.request(Method::GET, "/api/health"), (row.health, "")),
            cell(
                "health for operations",
                self.operations.request(Method::GET, "/api/health"),
                (row.health, ""),
            ),
            cell("metrics", self.operations.request(Method::GET, "/metrics"), (200, "")),
        ])
        .await;
        cells.into_iter().flatten().collect()
    }

    /// The state holds for its whole length, not only for the first who meet it.
    async fn holds(&self, row: Row) {
        // Reports of health are shared for two seconds: the state shows in the next.
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        for round in 0..4 {
            let deviations = self.deviations(&row).await;
            assert!(deviations.is_empty(), "round {round}: {deviations:#?}");
        }
    }

    async fn recovers(&self) {
        let returned = Instant::now();
        loop {
            let deviations = self.deviations(&NORMAL).await;
            if deviations.is_empty() {
                return;
            }
            assert!(returned.elapsed() < RECOVERY, "after {RECOVERY:?}: {deviations:#?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn cell(group: &'static str, request: reqwest::RequestBuilder, expected: Expected) -> Option<String> {
    let asked = Instant::now();
    let answer = Answer::of(request).await;
    let took = asked.elapsed();
    let bound = if group.starts_with("health") {
        HEALTH_BOUND
    } else {
        BOUND
    };
    let code = code_of(&answer);
    let as_expected = answer.status == expected.0 && (expected.1.is_empty() || code == expected.1);
    // Who is turned away for a while is told for how long.
    let told = answer.status != 503 || group.starts_with("health") || !answer.header("retry-after").is_empty();
    (!as_expected || took > bound || !told).then(|| {
        format!(
            "{group}: {} {code:?} after {took:?}, where {} {:?} within {bound:?} is due",
            answer.status, expected.0, expected.1
        )
    })
}

/// The error's code in either dialect; of a page, or of what is no error, none.
fn code_of(answer: &Answer) -> String {
    let body: serde_json::Value = serde_json::from_str(&answer.text()).unwrap_or_default();
    let code = body["code"].as_str().or(body["error"]["code"].as_str());
    code.unwrap_or_default().to_owned()
}
