//! What the kernel says about processor time and memory, from /proc.

use std::{fs, ops::Sub, path::Path, time::Duration};

/// USER_HZ is 100 on every Linux that Rust's standard library runs on.
const TICK: Duration = Duration::from_millis(10);

/// Processor time at one moment; the difference of two is what a run cost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) gateway: Duration,
    pub(crate) gateway_core: Busy,
    pub(crate) load_core: Busy,
    pub(crate) harness: Duration,
    pub(crate) postgres: Duration,
    /// Cores that the gateway may use; with two, the second is the load's.
    pub(crate) workers: usize,
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            gateway: self.gateway.saturating_sub(earlier.gateway),
            gateway_core: self.gateway_core.since(earlier.gateway_core),
            load_core: self.load_core.since(earlier.load_core),
            harness: self.harness.saturating_sub(earlier.harness),
            postgres: self.postgres.saturating_sub(earlier.postgres),
            workers: self.workers,
        }
    }
}

/// Time one core was not idle, as the kernel's timer tick saw it.
///
/// Ticks miss work shorter than themselves, so this can be far too low when a core is mostly idle; it is there to
/// catch what no watched process accounts for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Busy {
    busy: u64,
    total: u64,
}

impl Busy {
    fn since(self, earlier: Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(earlier.busy),
            total: self.total.saturating_sub(earlier.total),
        }
    }

    fn percent(self) -> f64 {
        100.0 * self.busy as f64 / self.total.max(1) as f64
    }
}

impl Usage {
    /// How busy the gateway's core was, 0 to 100: by ticks, or by the gateway's own account where that is more.
    pub(crate) fn gateway_core_percent(&self, elapsed: Duration) -> f64 {
        self.gateway_core.percent().max(share(self.on_its_core(), elapsed))
    }

    /// The same of the core that load, upstream and database share.
    pub(crate) fn load_core_percent(&self, elapsed: Duration) -> f64 {
        self.load_core.percent().max(share(self.on_load_core(), elapsed))
    }

    /// What programs that are no part of the measurement took of either core, the worse of both, 0 to 100. With two workers, which
    /// go where there is room, it is the mean.
    pub(crate) fn foreign_percent(&self, elapsed: Duration) -> f64 {
        let gateway_core = self.gateway_core.percent() - share(self.on_its_core(), elapsed);
        let load_core = self.load_core.percent() - share(self.on_load_core(), elapsed);
        let foreign = if self.workers > 1 {
            f64::midpoint(gateway_core, load_core)
        } else {
            gateway_core.max(load_core)
        };
        foreign.max(0.0)
    }

    /// With two workers, half of what the gateway took is counted on each core.
    fn on_its_core(&self) -> Duration {
        if self.workers > 1 {
            self.gateway / 2
        } else {
            self.gateway
        }
    }

    fn on_load_core(&self) -> Duration {
        let second_worker = self.gateway.saturating_sub(self.on_its_core());
        self.harness + self.postgres + second_worker
    }
}

/// A part of some time in percent.
pub(crate) fn share(part: Duration, whole: Duration) -> f64 {
    100.0 * part.as_secs_f64() / whole.as_secs_f64()
}

/// Whose time is of interest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watched {
    pub(crate) gateway: Option<u32>,
    pub(crate) postmaster: Option<u32>,
    pub(crate) gateway_core: usize,
    pub(crate) load_core: usize,
    pub(crate) workers: usize,
}

impl Watched {
    pub(crate) fn usage(&self) -> Usage {
        Usage {
            gateway: self.gateway.map_or(Duration::ZERO, process_time),
            gateway_core: core(self.gateway_core),
            load_core: core(self.load_core),
            harness: process_time(std::process::id()),
            postgres: self.postmaster.map_or(Duration::ZERO, family_time),
            workers: self.workers,
        }
    }
}

/// Resident memory of a process, now and at its highest, in bytes.
pub(crate) fn memory(pid: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    };
    (bytes("VmRSS:"), bytes("VmHWM:"))
}

/// The scheduler's nanoseconds of all live threads, or the process's ticks where the kernel keeps no such account.
fn process_time(pid: u32) -> Duration {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let account = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let first = account.split(' ').next();
        nanos += first.and_then(|field| field.parse().ok()).unwrap_or(0);
    }
    if nanos == 0 {
        return stat(Path::new(&format!("/proc/{pid}"))).map_or(Duration::ZERO, |stat| stat.time);
    }
    Duration::from_nanos(nanos)
}

/// A process and its direct children: the postmaster and its backends.
fn family_time(parent: u32) -> Duration {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit())
        .filter_map(|entry| stat(&entry.path()))
        .filter(|stat| stat.pid == parent || stat.parent == parent)
        .map(|stat| stat.time)
        .sum()
}

struct Stat {
    pid: u32,
    parent: u32,
    time: Duration,
}

fn stat(process: &Path) -> Option<Stat> {
    let text = fs::read_to_string(process.join("stat")).ok()?;
    // The name, in parentheses, may itself hold spaces and parentheses.
    let (pid, rest) = text.split_once(' ')?;
    let (_, fields) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks: u32 = fields.get(11)?.parse::<u32>().ok()? + fields.get(12)?.parse::<u32>().ok()?;
    Some(Stat {
        pid: pid.parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        time: TICK * ticks,
    })
}

fn core(number: usize) -> Busy {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let name = format!("cpu{number} ");
    let Some(line) = text.lines().find_map(|line| line.strip_prefix(&name)) else {
        return Busy::default();
    };
    // user nice system idle iowait irq softirq steal; guest time is in user time already.
    let fields: Vec<u64> = line
        .split(' ')
        .take(8)
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    let total: u64 = fields.iter().sum();
    let idle: u64 = fields.iter().skip(3).take(2).sum();
    Busy {
        busy: total - idle,
        total,
    }
}

/// The machine, for whoever compares figures.
pub(crate) fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown processor", |rest| rest.trim_start_matches(['\t', ' ', ':']));
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}
