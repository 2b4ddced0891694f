//! A `mapleai` process configured as in production, pinned to its core.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    error::{BenchError, During},
    http,
    variant::Variant,
};

const START_LIMIT: Duration = Duration::from_secs(30);
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
    pub(crate) core: usize,
    /// A program to run it under, such as a profiler.
    pub(crate) prefix: &'a [String],
    pub(crate) log: &'a Path,
}

/// A running gateway; dropping it stops the process.
pub(crate) struct Gateway {
    child: Child,
    _config: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
}

impl Gateway {
    /// Migrates the database, starts the process, waits for its health and makes an API key.
    pub(crate) fn start(launch: &Launch<'_>) -> Result<Self, BenchError> {
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
            let mut command = Command::new("taskset");
            command.arg("-c").arg(launch.core.to_string());
            command.args(prefix).arg(launch.binary).args(arguments);
            command
                .env("MAPLE_ENV", "production")
                .env("MAPLE_CONFIG_DIR", config.path())
                .env("MAPLE__SERVER__HOST", "127.0.0.1")
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
                .env("TOKIO_WORKER_THREADS", "1")
                .stdin(Stdio::null())
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
        let mut gateway = Self {
            child: child.during(format!("starting {}", launch.binary.display()))?,
            _config: config,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            key: String::new(),
        };
        gateway.wait_until_healthy(launch.log)?;
        gateway.key = gateway.make_key()?;
        Ok(gateway)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_healthy(&mut self, log: &Path) -> Result<(), BenchError> {
        let limit = Instant::now() + START_LIMIT;
        loop {
            let health = http::exchange(self.address, "GET", "/api/health", None, None);
            if health.is_ok_and(|(status, _)| status == 200) {
                return Ok(());
            }
            let ended = self.child.try_wait().during("waiting for the gateway")?;
            if ended.is_some() || Instant::now() > limit {
                return Err(BenchError::NotReady {
                    seconds: START_LIMIT.as_secs(),
                    log: tail(log),
                });
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn make_key(&self) -> Result<String, BenchError> {
        let account = json!({"email": EMAIL, "password": PASSWORD, "name": "Bench", "organization": "Bench"});
        let register = ("POST", "/api/auth/register");
        let tokens = http::call(self.address, "registering", register, None, Some(&account))?;
        let token = http::text(&tokens, "registering", "access_token")?;
        let name = json!({"name": "bench"});
        let route = ("POST", "/api/keys");
        let key = http::call(self.address, "creating a key", route, Some(&token), Some(&name))?;
        http::text(&key, "creating a key", "key")
    }

    /// How many requests the gateway's own usage records account for, waiting a little for the last batch.
    pub(crate) fn recorded_requests(&self, expected: u64) -> Result<u64, BenchError> {
        let login = json!({"email": EMAIL, "password": PASSWORD});
        let route = ("POST", "/api/auth/login");
        let tokens = http::call(self.address, "signing in", route, None, Some(&login))?;
        let token = http::text(&tokens, "signing in", "access_token")?;
        let limit = Instant::now() + Duration::from_secs(15);
        loop {
            let route = ("GET", "/api/usage");
            let usage = http::call(self.address, "reading usage", route, Some(&token), None)?;
            let count = usage.pointer("/totals/requests").and_then(serde_json::Value::as_u64);
            let count = count.ok_or(BenchError::Incomplete {
                what: "reading usage",
                field: "totals.requests",
            })?;
            if count >= expected || Instant::now() > limit {
                return Ok(count);
            }
            thread::sleep(Duration::from_millis(250));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // Politely first, so that a profiler around it gets to write its report.
            let _ = kill_process(pid, Signal::TERM);
        }
        let limit = Instant::now() + STOP_LIMIT;
        while Instant::now() < limit {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
