//! The command line.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::Parser;

use crate::network::Kind;

/// Measures what going through MapleAI costs, against going to the upstream directly.
///
/// Start it with `scripts/bench.sh`, which brings a private PostgreSQL.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Debug, Parser)]
#[command(name = "mapleai-bench")]
pub(crate) struct Options {
    /// One short round, for a first look.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Cases to run: open500, open2000, closed; plain, stream; bypass, hit, miss (of the cache). All by default.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Seconds each case is measured in each round.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) duration: Option<f64>,
    /// Each case is measured this often, targets taking turns; medians are reported.
    #[arg(long)]
    pub(crate) rounds: Option<usize>,
    /// A build to measure, as PATH or NAME=PATH; repeat to compare builds in one run.
    #[arg(long = "gateway-bin", value_name = "[NAME=]PATH")]
    pub(crate) gateway_bins: Vec<Named<PathBuf>>,
    /// For the variant of the first build that has a Redis as its only cache of answers.
    #[arg(long, env = "BENCH_REDIS_URL")]
    pub(crate) redis_url: Option<String>,
    /// Measure each build only as in production, not with Redis, without cache, and without journal.
    #[arg(long)]
    pub(crate) no_variants: bool,
    /// Send so many distinct requests for repeatable answers through each build at the end, and read its memory; 1,000,000
    /// unless it is a short round.
    #[arg(long, value_name = "REQUESTS")]
    pub(crate) fill_cache: Option<u64>,
    /// A running proxy in front of `--upstream-port` to measure too, such as nginx=127.0.0.1:8080@PID.
    #[arg(long = "peer", value_name = "NAME=ADDRESS@PID")]
    pub(crate) peers: Vec<Named<Peer>>,
    /// The reference proxy (crates/reference-proxy), built as MapleAI is; none leaves it out.
    #[arg(long, value_name = "PATH", env = "BENCH_REFERENCE_BIN")]
    pub(crate) reference_bin: Option<PathBuf>,
    /// Measure neither nginx (where it is installed) nor the reference proxy beside the builds.
    #[arg(long)]
    pub(crate) no_yardsticks: bool,
    /// Measure no MapleAI, only the direct way and any peers.
    #[arg(long)]
    pub(crate) no_gateway: bool,
    /// One empty database per build.
    #[arg(
        long = "database-url",
        env = "BENCH_DATABASE_URLS",
        value_delimiter = ' ',
        hide_env_values = true
    )]
    pub(crate) database_urls: Vec<String>,
    /// The folder whose files the gateway starts from.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config"))]
    pub(crate) config: PathBuf,
    /// The postmaster: its time and its children's count as PostgreSQL's.
    #[arg(long, env = "BENCH_POSTGRES_PID")]
    pub(crate) postgres_pid: Option<u32>,
    /// Where the load side meets what is measured. `veth` makes two network namespaces with a pair between them, for the time of the run,
    /// and needs root; the direct way stays within one of them.
    #[arg(long, value_enum, default_value_t = Kind::Loopback)]
    pub(crate) network: Kind,
    /// The beginning of those namespaces' names.
    #[arg(long, value_name = "NAME", env = "BENCH_NAMESPACES", default_value = "mapleai-bench")]
    pub(crate) namespaces: String,
    /// Threads that answer, of a gateway and of the reference proxy; a second one shares the load's core. nginx is measured with one.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub(crate) workers: u8,
    /// The core that the gateway has to itself.
    #[arg(long, env = "BENCH_GATEWAY_CORE", default_value_t = 0)]
    pub(crate) gateway_core: usize,
    /// The core of load generator, mock upstream and database.
    #[arg(long, env = "BENCH_LOAD_CORE", default_value_t = 1)]
    pub(crate) load_core: usize,
    /// Port of the mock upstream; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    pub(crate) upstream_port: u16,
    /// Microseconds between two chunks of a stream.
    #[arg(long, default_value_t = 0, value_name = "MICROSECONDS")]
    pub(crate) chunk_gap: u64,
    /// Where the figures go as JSON; a Markdown table is written beside it.
    #[arg(long, default_value = "target/bench/gateway.json")]
    pub(crate) output: PathBuf,
    /// Only serve the mock upstream on this port, until interrupted.
    #[arg(long, value_name = "PORT")]
    pub(crate) serve_upstream: Option<u16>,
    /// Print the gateway's process id and keep the first chosen case running on it, for a profiler.
    #[arg(long)]
    pub(crate) profile: bool,
    /// Program to start the gateway under: "valgrind --tool=callgrind".
    #[arg(long, value_delimiter = ' ')]
    pub(crate) gateway_prefix: Vec<String>,
}

impl Options {
    pub(crate) fn measured(&self) -> Duration {
        let default = if self.quick { 1.5 } else { 5.0 };
        Duration::from_secs_f64(self.duration.unwrap_or(default).clamp(0.1, 3_600.0))
    }

    pub(crate) fn warm_up(&self) -> Duration {
        self.measured().div_f64(4.0).min(Duration::from_secs(1))
    }

    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 }).max(1)
    }

    pub(crate) fn workers(&self) -> usize {
        self.workers.into()
    }

    /// Where what is measured may run, as `taskset` takes it.
    pub(crate) fn measured_cores(&self) -> String {
        match self.workers {
            1 => self.gateway_core.to_string(),
            _ => format!("{},{}", self.gateway_core, self.load_core),
        }
    }

    pub(crate) fn answers_to_offer(&self) -> u64 {
        self.fill_cache.unwrap_or(if self.quick { 0 } else { 1_000_000 })
    }

    /// Requests through a build before its memory is read the second time.
    pub(crate) fn memory_requests(&self) -> u64 {
        if self.quick { 20_000 } else { 200_000 }
    }
}

/// A value with the name it has in the tables.
#[derive(Debug, Clone)]
pub(crate) struct Named<T> {
    pub(crate) name: Option<String>,
    pub(crate) value: T,
}

impl<T: FromStr> FromStr for Named<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (Some(name.to_owned()), value),
            None => (None, text),
        };
        Ok(Self {
            name,
            value: value.parse()?,
        })
    }
}

/// A proxy that somebody else started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) pid: u32,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, pid) = text.split_once('@').ok_or("expected ADDRESS@PID")?;
        Ok(Self {
            address: address.parse().map_err(|error| format!("{address}: {error}"))?,
            pid: pid.parse().map_err(|error| format!("{pid}: {error}"))?,
        })
    }
}
