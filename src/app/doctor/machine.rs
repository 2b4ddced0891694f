//! The machine that the service runs on.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Finding, fail, pass, warn};
use configuration::Config;

/// Beside connections: files, logs, the pools.
const OTHER_FILES: u64 = 256;
/// Less than this is soon nothing.
const LITTLE: u64 = 1024 * 1024 * 1024;
const TOO_LITTLE: u64 = 64 * 1024 * 1024;

/// Whether as many connections can be open as are allowed.
pub(super) fn file_limits(config: &Config) -> Finding {
    let Some(limit) = fs::read_to_string("/proc/self/limits")
        .ok()
        .and_then(|text| soft_limit(&text))
    else {
        return warn("/proc/self/limits cannot be read", "see `ulimit -n`");
    };
    let pools = u64::from(config.database.max_connections) * 2;
    // A call holds one connection to its caller and one to the provider.
    let calls = config.admission.max_in_flight as u64;
    let wanted = config.server.max_connections as u64 + calls + pools + OTHER_FILES;
    let finding = format!("{limit} open files allowed, up to {wanted} wanted");
    if limit >= wanted {
        pass(finding)
    } else {
        warn(
            finding,
            "raise it (`ulimit -n`, LimitNOFILE=) or lower server.max_connections and admission.max_in_flight",
        )
    }
}

/// Whether clients can be told apart. Somebody else ends TLS where people come by https, and is everybody's address unless it is
/// trusted to name them.
pub(super) fn proxies(config: &Config) -> Finding {
    let server = &config.server;
    if !server.trusted_proxies.is_empty() {
        return pass(format!(
            "{} networks may say who is behind them",
            server.trusted_proxies.len()
        ));
    }
    if server.public_url.scheme() == "https" {
        warn(
            "server.public_url is https, so a proxy is in front, and server.trusted_proxies is empty: all clients count as one",
            "name its networks in server.trusted_proxies, so that limits by address tell people apart",
        )
    } else {
        pass("no proxy is expected in front, and none is believed")
    }
}

fn soft_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// How much memory the process may have, in bytes: what its container has, or all there is.
pub(super) fn memory() -> Option<u64> {
    let limits = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let read = |path: &str| fs::read_to_string(path).ok()?.trim().parse().ok();
    let there = || total(&fs::read_to_string("/proc/meminfo").ok()?);
    let limit: Option<u64> = limits.into_iter().find_map(read);
    limit.into_iter().chain(there()).min()
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Whether what the service writes has room, and may be written.
pub(super) fn disk(config: &Config) -> Finding {
    let mut folders: Vec<PathBuf> = Vec::new();
    folders.extend(config.usage.journal_dir.iter().map(PathBuf::from));
    let log = config.log.file.as_deref().map(Path::new);
    folders.extend(log.and_then(Path::parent).map(Path::to_path_buf));
    if folders.is_empty() {
        return pass("nothing is written to disk");
    }
    let (mut findings, mut worst) = (Vec::new(), None);
    for folder in folders {
        let shown = folder.display();
        // The service makes what is missing, in the first folder above that there is.
        let Some(existing) = folder
            .ancestors()
            .find(|above| above.as_os_str().is_empty() || above.exists())
        else {
            findings.push(format!("{shown}: no such folder"));
            continue;
        };
        let existing = if existing.as_os_str().is_empty() {
            Path::new(".")
        } else {
            existing
        };
        match rustix::fs::statvfs(existing) {
            Ok(stat) => {
                let free = stat.f_bavail.saturating_mul(stat.f_frsize);
                findings.push(format!("{shown}: {} MiB free", free / (1024 * 1024)));
                worst = Some(worst.map_or(free, |worst: u64| worst.min(free)));
            }
            Err(error) => findings.push(format!("{shown}: {error}")),
        }
        if rustix::fs::access(existing, rustix::fs::Access::WRITE_OK).is_err() {
            findings.push(format!("{shown}: cannot be written"));
            worst = Some(0);
        }
    }
    let finding = findings.join("; ");
    match worst {
        Some(free) if free >= LITTLE => pass(finding),
        Some(free) if free >= TOO_LITTLE => {
            warn(finding, "make room, or place usage.journal_dir and log.file elsewhere")
        }
        _ => fail(finding, "make room, or place usage.journal_dir and log.file elsewhere"),
    }
}

#[cfg(test)]
mod tests {
    use super::{soft_limit, total};

    #[test]
    fn the_soft_limit_is_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max open files            1024                 524288               files\n";
        assert_eq!(soft_limit(text), Some(1024));
        assert_eq!(soft_limit("Max open files  unlimited unlimited files"), Some(u64::MAX));
        assert_eq!(soft_limit(""), None);
    }

    #[test]
    fn the_memory_that_is_there_is_read() {
        assert_eq!(total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(total(""), None);
    }
}
