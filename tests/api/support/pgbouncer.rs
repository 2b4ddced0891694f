//! A real PgBouncer before a test's PostgreSQL, set up as docs/DEPLOYMENT.md says.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{eventually, haproxy::free_port, postgres::Postgres};

/// Killed when dropped.
pub struct PgBouncer {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl PgBouncer {
    /// None where there is none to be had, which is an error in CI.
    pub async fn start(postgres: &Postgres) -> Option<Self> {
        let program = std::env::var("MAPLE_PGBOUNCER").unwrap_or_default();
        if program.is_empty() {
            assert!(
                std::env::var_os("CI").is_none(),
                "no PgBouncer: scripts/test/pgbouncer.sh makes one"
            );
            eprintln!("skipped: no PgBouncer here (scripts/test/pgbouncer.sh)");
            return None;
        }
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let users = folder.path().join("users.txt");
        fs::write(&users, "\"maple\" \"\"\n").unwrap();
        let server = url::Url::parse(&postgres.url()).unwrap();
        let config = format!(
            "[databases]\npostgres = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             auth_type = trust\nauth_file = {}\nlogfile = {}\nunix_socket_dir =\n{}",
            server.port().unwrap(),
            users.display(),
            folder.path().join("log").display(),
            documented_settings()
        );
        let file = folder.path().join("pgbouncer.ini");
        fs::write(&file, config).unwrap();
        // Whom it runs as may not be let into the folder it was made in, such as root's cache.
        let copy = folder.path().join("pgbouncer");
        fs::copy(program, &copy).unwrap();
        let mut command = Command::new(&copy);
        command.arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some((user, group)) = super::postgres::whom_to_run_as() {
            // It refuses to run as root, too.
            for path in [folder.path(), &file, &users, &copy] {
                std::os::unix::fs::chown(path, Some(user), Some(group)).unwrap();
            }
            command.uid(user).gid(group);
        }
        let child = command.spawn().unwrap();
        let bouncer = Self { child, port, folder };
        eventually("PgBouncer's start", || async {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        Some(bouncer)
    }

    pub fn url(&self) -> String {
        format!("postgres://maple@127.0.0.1:{}/postgres", self.port)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The settings that operators are told to make, word for word, but for the size of the pool that is kept open.
fn documented_settings() -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/DEPLOYMENT.md");
    let document = fs::read_to_string(document).unwrap();
    let after = document.split("```ini\n").nth(1).expect("an ini in the document");
    let settings = after.split("```").next().unwrap();
    assert!(settings.contains("pool_mode = transaction"), "{settings}");
    settings.replace("min_pool_size = 20", "min_pool_size = 2")
}
