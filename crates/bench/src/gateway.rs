//! A `mapleai` process configured as in production, pinned to its core.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    error::{BenchError, During},
    network::Network,
    variant::Variant,
};

const START_LIMIT: Duration = Duration::from_secs(30);
/// Of each exchange that sets a gateway up; none of them is measured.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);
const STOP_LIMIT: Duration = Duration::from_secs(15);
const EMAIL: &str = "bench@maple.example";
/// Signs nothing but this run's tokens.
const SIGNING_KEY: &str = "bench-signing-key-0123456789abcdef0123456789abcdef";
const PASSWORD: &str = "a-long-enough-bench-password";

/// What a gateway is started from.
pub(crate) struct Launch<'a> {
    pub(crate) binary: &'a Path,
    pub(crate) config: &'a Path,
    pub(crate) database_url: &'a str,
    pub(crate) variant: Variant,
    /// Where the variant with Redis finds it.
    pub(crate) redis: Option<&'a str>,
    pub(crate) upstream: SocketAddr,
    pub(crate) network: &'a Network,
    /// Threads that answer, and the cores that they have.
    pub(crate) workers: usize,
    pub(crate) cores: &'a str,
    /// A program to run it under, such as a profiler.
    pub(crate) prefix: &'a [String],
    pub(crate) log: &'a Path,
}

/// A running gateway; dropping it stops the process.
pub(crate) struct Gateway {
    child: Child,
    _config: TempDir,
    client: reqwest::Client,
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
}

impl Gateway {
    /// Migrates the database, starts the process, waits for its health and makes an API key.
    pub(crate) async fn start(launch: &Launch<'_>) -> Result<Self, BenchError> {
        let config = configuration(launch)?;
        // Builds from before the journal refuse the key.
        let manual = fs::read_to_string(config.path().join("default.toml")).unwrap_or_default();
        let journal = manual.contains("journal_dir").then(|| config.path().join("journal"));
        // Builds run side by side, and those from before the operations listener refuse the key.
        let operations = manual.contains("ops_addr").then_some("127.0.0.1:0");
        let port = free_port().during("looking for a free port")?;
        let command = |arguments: &[&str], prefix: &[String]| -> Result<Command, BenchError> {
            let log = File::options().create(true).append(true).open(launch.log);
            let log = log.during(format!("opening {}", launch.log.display()))?;
            let mut command = launch.network.command(launch.cores);
            command.args(prefix).arg(launch.binary).args(arguments);
            command
                .env("MAPLE_ENV", "production")
                .env("MAPLE_CONFIG_DIR", config.path())
                .env("MAPLE__SERVER__HOST", launch.network.gateway().to_string())
                .env("MAPLE__SERVER__PUBLIC_URL", "https://bench.maple.example")
                .env("MAPLE__AUTH__OPEN_REGISTRATION", "true")
                .env("MAPLE__AUTH__ACTIVE_KEY", "bench")
                .env("MAPLE__AUTH__SIGNING_KEYS__BENCH", SIGNING_KEY)
                .envs(operations.map(|address| ("MAPLE__SERVER__OPS_ADDR", address)))
                .envs(launch.redis.map(|url| ("REDIS_URL", url)))
                .envs(journal.iter().map(|folder| ("MAPLE__USAGE__JOURNAL_DIR", folder)))
                .envs(launch.variant.settings().iter().copied())
                .env("MAPLE__LOG__LEVEL", "warn")
                .env("MAPLE__LOG__FORMAT", "json")
                .env("DATABASE_URL", launch.database_url)
                .env("PORT", port.to_string())
                .env("TOKIO_WORKER_THREADS", launch.workers.to_string())
                .stdout(log.try_clone().during("the gateway's log")?)
                .stderr(log);
            Ok(command)
        };
        let migrated = command(&["migrate"], &[])?.status();
        if !migrated.during("running `mapleai migrate`")?.success() {
            let log = tail(launch.log);
            return Err(BenchError::Usage(format!(
                "`mapleai migrate` failed; its log ends:\n{log}"
            )));
        }
        let child = command(&["serve"], launch.prefix)?.spawn();
        let client = reqwest::Client::builder().no_proxy().timeout(EXCHANGE_TIMEOUT);
        let client = client.build().map_err(std::io::Error::other);
        let mut gateway = Self {
            child: child.during(format!("starting {}", launch.binary.display()))?,
            _config: config,
            address: SocketAddr::from((launch.network.gateway(), port)),
            client: client.during("setting up an HTTP client")?,
            key: String::new(),
        };
        gateway.wait_until_healthy(launch.log).await?;
        gateway.key = gateway.make_key().await?;
        Ok(gateway)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    async fn wait_until_healthy(&mut self, log: &Path) -> Result<(), BenchError> {
        let limit = Instant::now() + START_LIMIT;
        loop {
            let health = self.client.get(format!("http://{}/api/health", self.address));
            if health.send().await.is_ok_and(|response| response.status().is_success()) {
                return Ok(());
            }
            let ended = self.child.try_wait().during("waiting for the gateway")?;
            if ended.is_some() || Instant::now() > limit {
                return Err(BenchError::NotReady {
                    seconds: START_LIMIT.as_secs(),
                    log: tail(log),
                });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn make_key(&self) -> Result<String, BenchError> {
        let account = json!({"email": EMAIL, "password": PASSWORD, "name": "Bench", "organization": "Bench"});
        let registered = self.post("/api/auth/register", None, &account).await?;
        let token = text(&registered, "registering", "access_token")?;
        let name = json!({"name": "bench"});
        let key = self.post("/api/keys", Some(&token), &name).await?;
        text(&key, "creating a key", "key")
    }

    /// How many requests the gateway's own usage records account for, waiting a little for the last batch.
    pub(crate) async fn recorded_requests(&self, expected: u64) -> Result<u64, BenchError> {
        let login = json!({"email": EMAIL, "password": PASSWORD});
        let tokens = self.post("/api/auth/login", None, &login).await?;
        let token = text(&tokens, "signing in", "access_token")?;
        let limit = Instant::now() + Duration::from_secs(15);
        loop {
            let usage = self.call(Method::GET, "/api/usage", Some(&token), None).await?;
            let count = usage.pointer("/totals/requests").and_then(Value::as_u64);
            let count = count.ok_or(BenchError::Incomplete {
                what: "reading usage",
                field: "totals.requests",
            })?;
            if count >= expected || Instant::now() > limit {
                return Ok(count);
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    async fn post(&self, path: &'static str, token: Option<&str>, body: &Value) -> Result<Value, BenchError> {
        self.call(Method::POST, path, token, Some(body)).await
    }

    /// A call of the gateway's API that must succeed.
    async fn call(
        &self,
        method: Method,
        path: &'static str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Value, BenchError> {
        let mut request = self.client.request(method, format!("http://{}{path}", self.address));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(std::io::Error::other).during(path)?;
        let status = response.status();
        let body = response.text().await.map_err(std::io::Error::other).during(path)?;
        if !status.is_success() {
            return Err(BenchError::Refused {
                what: path,
                status: status.as_u16(),
                body,
            });
        }
        serde_json::from_str(&body).during(path)
    }
}

/// A string of an answer.
fn text(value: &Value, what: &'static str, field: &'static str) -> Result<String, BenchError> {
    let found = value.get(field).and_then(Value::as_str);
    found.map(str::to_owned).ok_or(BenchError::Incomplete { what, field })
}

impl Drop for Gateway {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// Ends a process: politely first, so that a profiler around it or counters in it get to write what they have.
pub(crate) fn stop(child: &mut Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, Signal::TERM);
    }
    let limit = Instant::now() + STOP_LIMIT;
    while Instant::now() < limit {
        if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// The project's own configuration with the mock upstream added to its production file.
fn configuration(launch: &Launch<'_>) -> Result<TempDir, BenchError> {
    let folder = tempfile::tempdir().during("a folder for the configuration")?;
    for entry in fs::read_dir(launch.config).during(format!("reading {}", launch.config.display()))? {
        let entry = entry.during("reading the configuration")?;
        if entry.path().is_file() {
            let copy = folder.path().join(entry.file_name());
            fs::copy(entry.path(), copy).during("copying the configuration")?;
        }
    }
    let path = folder.path().join("production.toml");
    let file = OpenOptions::new().create(true).append(true).open(path);
    let added = format!(
        "\n[providers.bench]\nkind = \"openai\"\nbase_url = \"http://{}/v1\"\napi_key = \"sk-bench\"\n\
         \n[[models]]\nid = \"bench-model\"\nprovider = \"bench\"\nupstream = \"bench-model\"\nkind = \"chat\"\n\
         input_price = \"2.50\"\noutput_price = \"10.00\"\n",
        launch.upstream
    );
    file.and_then(|mut file| file.write_all(added.as_bytes()))
        .during("writing production.toml")?;
    Ok(folder)
}

pub(crate) fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
