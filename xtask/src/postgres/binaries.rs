//! Where this machine's PostgreSQL server programs are.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const OLDEST: u32 = 14;

/// The folder of the newest complete server of version 14 or newer, or of the newest of one major version.
pub(crate) fn find(major: Option<u32>) -> Option<PathBuf> {
    let servers = folders().into_iter().filter(|folder| is_complete(folder));
    let servers = servers.filter_map(|folder| Some((version_of(&folder)?, folder)));
    let servers = servers.filter(|(version, _)| *version >= OLDEST && major.is_none_or(|major| *version == major));
    servers.max().map(|(_, folder)| folder)
}

/// psql of the newest server, or whichever is on the PATH.
pub(crate) fn psql() -> PathBuf {
    find(None).map_or_else(|| "psql".into(), |folder| folder.join("psql"))
}

fn folders() -> BTreeSet<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).filter_map(|folder| fs::canonicalize(folder.join("initdb")).ok());
    let on_path = on_path.filter_map(|program| program.parent().map(Path::to_owned));
    let packaged = entries("/usr/lib/postgresql").chain(entries("/usr").filter(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("pgsql-"))
    }));
    let packaged = packaged.map(|folder| folder.join("bin"));
    on_path.chain(packaged).chain(["/usr/local/pgsql/bin".into()]).collect()
}

fn entries(folder: &str) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path()))
}

/// `initdb` and `postgres` must come from one folder: a stray `postgres` on the PATH may be something else entirely.
fn is_complete(folder: &Path) -> bool {
    ["initdb", "postgres", "pg_ctl", "psql"]
        .iter()
        .all(|program| folder.join(program).is_file())
}

fn version_of(folder: &Path) -> Option<u32> {
    let mut command = Command::new(folder.join("postgres"));
    let output = command.arg("--version").stdin(Stdio::null()).output().ok()?;
    major_in(&String::from_utf8_lossy(&output.stdout))
}

fn major_in(text: &str) -> Option<u32> {
    let version = text.strip_prefix("postgres (PostgreSQL) ")?;
    let end = version.find(|letter: char| !letter.is_ascii_digit());
    version[..end.unwrap_or(version.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::major_in;

    #[test]
    fn the_major_version_is_what_the_server_says() {
        assert_eq!(
            major_in("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(major_in("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major_in("postgres (Something) 15\n"), None);
    }
}
