//! A PostgreSQL of the test's own, to be killed, hung and brought back.

use std::{
    fs,
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use super::{database, eventually};

pub struct Postgres {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    /// `postgres` refuses to run as root: whom to run it as there.
    user: Option<(u32, u32)>,
    running: Option<Child>,
}

impl Postgres {
    /// Starts a server with a migrated database.
    pub async fn start() -> Self {
        let postgres = Self::empty().await;
        let database = store::Database::new(&database::config(&postgres.url())).unwrap();
        database::migrate(&database).await;
        database.close(Duration::from_secs(5)).await;
        postgres
    }

    /// Starts a server with an empty database.
    pub async fn empty() -> Self {
        let programs = programs();
        let user = whom_to_run_as();
        let (folder, port) = (home(user), free_port());
        let mut postgres = Self {
            programs,
            folder,
            port,
            user,
            running: None,
        };
        let made = postgres
            .command("initdb")
            .args([
                "--auth=trust",
                "--username=maple",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "-D",
            ])
            .arg(postgres.data())
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        postgres.bring_back().await;
        postgres
    }

    pub fn url(&self) -> String {
        format!("postgres://maple@127.0.0.1:{}/postgres", self.port)
    }

    /// Another role with all rights, which has to say its password; the URL to log in with. By MD5, since SCRAM's thousands of
    /// rounds take an unoptimised build most of a second.
    pub async fn with_password(&self, role: &str, password: &str) -> String {
        let rules = self.data().join("pg_hba.conf");
        let others = fs::read_to_string(&rules).unwrap();
        fs::write(&rules, format!("host all {role} 127.0.0.1/32 md5\n{others}")).unwrap();
        let statements = format!(
            "SET password_encryption = 'md5'; CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{password}'; SELECT pg_reload_conf()"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(statements))
            .execute(&mut self.connection().await)
            .await
            .unwrap();
        self.url_for(role, password)
    }

    pub fn url_for(&self, role: &str, password: &str) -> String {
        format!("postgres://{role}:{password}@127.0.0.1:{}/postgres", self.port)
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub async fn connection(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }

    /// A server that copies this one's changes as they are made, and answers reads.
    pub async fn standby(&self) -> Self {
        let (folder, port) = (home(self.user), free_port());
        let mut standby = Self {
            programs: self.programs.clone(),
            folder,
            port,
            user: self.user,
            running: None,
        };
        let made = standby
            .command("pg_basebackup")
            .args([
                "--write-recovery-conf",
                "--wal-method=stream",
                "--checkpoint=fast",
                "--no-sync",
            ])
            .args(["--dbname", &self.url(), "--pgdata"])
            .arg(standby.data())
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "pg_basebackup: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        standby.bring_back().await;
        standby
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Has a standby take over.
    pub async fn promote(&self) {
        sqlx::query("SELECT pg_promote()")
            .execute(&mut self.connection().await)
            .await
            .unwrap();
    }

    /// A planned stop begins: sessions that exist go on, new ones are refused, and it waits for the last to leave.
    pub fn stop_when_all_have_left(&self) {
        let server = self.running.as_ref().unwrap().id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &server])
                .status()
                .unwrap()
                .success()
        );
    }

    pub fn has_stopped(&mut self) -> bool {
        self.running
            .as_mut()
            .is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// Starts a server that was a primary as a standby of `primary`, as an operator of fail-overs does.
    pub async fn follow(&mut self, primary: &Self) {
        self.kill();
        fs::write(self.data().join("standby.signal"), "").unwrap();
        let settings = self.data().join("postgresql.auto.conf");
        let follows = format!(
            "primary_conninfo = 'host=127.0.0.1 port={} user=maple'\nrecovery_target_timeline = 'latest'\n",
            primary.port
        );
        fs::write(settings, follows).unwrap();
        self.bring_back().await;
    }

    /// Sets what the server takes over without a restart.
    pub async fn set(&self, name: &str, value: &str) {
        let statements = [
            format!("ALTER SYSTEM SET {name} = '{value}'"),
            "SELECT pg_reload_conf()".to_owned(),
        ];
        let mut connection = self.connection().await;
        for statement in statements {
            sqlx::query(sqlx::AssertSqlSafe(statement))
                .execute(&mut connection)
                .await
                .unwrap();
        }
    }

    /// The machine loses power, as far as connections can tell. What was committed stays.
    pub fn kill(&mut self) {
        self.signal("KILL");
        if let Some(mut child) = self.running.take() {
            child.wait().unwrap();
        }
    }

    /// Connections stay open and nobody answers.
    pub fn hang(&self) {
        self.signal("STOP");
    }

    pub fn wake(&self) {
        self.signal("CONT");
    }

    /// Starts it (again) and waits until it takes connections.
    pub async fn bring_back(&mut self) {
        let url = self.url();
        eventually("PostgreSQL's start", || {
            // Started too soon after a kill it finds its own memory still in use, and gives up.
            let over = self
                .running
                .as_mut()
                .is_none_or(|child| child.try_wait().unwrap().is_some());
            if over {
                self.running = Some(self.launch());
            }
            let url = url.clone();
            async move {
                let connection = tokio::time::timeout(Duration::from_secs(2), PgConnection::connect(&url)).await;
                connection.ok()?.ok()?.close().await.ok()
            }
        })
        .await;
    }

    fn launch(&self) -> Child {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        self.command("postgres")
            .arg("-D")
            .arg(self.data())
            .args([
                "-p",
                &self.port.to_string(),
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "unix_socket_directories=",
            ])
            .args([
                "-c",
                "fsync=off",
                "-c",
                "shared_buffers=16MB",
                "-c",
                "max_connections=40",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command
            .current_dir(self.folder.path())
            .env_remove("PGDATA")
            .env_remove("PGPORT");
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Sends a signal to the server and each of its processes, which are its children.
    fn signal(&self, signal: &str) {
        let Some(child) = &self.running else { return };
        let server = child.id().to_string();
        let send = |signal: &str, to: &[String]| {
            let _ = Command::new("kill")
                .arg(format!("-{signal}"))
                .args(to)
                .stderr(Stdio::null())
                .status();
        };
        if signal != "CONT" {
            // Otherwise it may have started one more by the time that those in the list are told.
            send("STOP", std::slice::from_ref(&server));
        }
        let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap_or_default();
        let mut everyone: Vec<String> = children.split_whitespace().map(str::to_owned).collect();
        // The server itself comes last: its children are listed by it.
        everyone.push(server);
        send(signal, &everyone);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A folder for the server's user alone.
fn home(user: Option<(u32, u32)>) -> TempDir {
    let folder = tempfile::Builder::new().prefix("mapleai-test-pg.").tempdir().unwrap();
    if let Some((uid, gid)) = user {
        chown(folder.path(), Some(uid), Some(gid)).unwrap();
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    folder
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The newest server's programs: of those installed, then of the `PATH`.
fn programs() -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = installed
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| has_server(folder))
        .collect();
    versions.sort();
    versions
        .pop()
        .map(|(_, folder)| folder)
        .or_else(|| {
            let path = std::env::var_os("PATH")?;
            let places = std::env::split_paths(&path).map(|folder| fs::canonicalize(folder.join("initdb")));
            places
                .flatten()
                .filter_map(|program| Some(program.parent()?.to_owned()))
                .find(|folder| has_server(folder))
        })
        .expect("no PostgreSQL server programs (initdb, postgres) found; `make test` installs them")
}

fn has_server(folder: &Path) -> bool {
    folder.join("initdb").is_file() && folder.join("postgres").is_file()
}

pub(super) fn whom_to_run_as() -> Option<(u32, u32)> {
    // Who owns this process's own entry is who runs it.
    let root = std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap()) == 0;
    root.then(|| {
        let users = fs::read_to_string("/etc/passwd").unwrap();
        let find = |name: &str| {
            users
                .lines()
                .map(|line| line.split(':').collect::<Vec<_>>())
                .find(|fields| fields.first() == Some(&name))
                .and_then(|fields| Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?)))
        };
        find("postgres")
            .or_else(|| find("nobody"))
            .expect("a user to run PostgreSQL as")
    })
}
