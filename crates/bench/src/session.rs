//! One invocation from options to report.

use std::{
    io::{Write, stdout},
    num::NonZeroU64,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::thread::{CpuSet, sched_setaffinity, set_current_timer_slack};

use crate::{
    cases::Case,
    engine::Engine,
    error::{BenchError, During},
    gateway::{Gateway, Launch},
    measure::{self, Plan, Target},
    network::{Kind, Network},
    options::Options,
    procstat::{self, Watched},
    report::{Footprint, Report},
    variant::Variant,
    yardstick::Yardstick,
};

/// After which a gateway that was started is idle.
const SETTLING: Duration = Duration::from_secs(15);

/// A gateway under measurement.
struct Build {
    gateway: Gateway,
    name: String,
    variant: Variant,
    idle: u64,
}

pub(crate) fn run(options: &Options) -> Result<(), BenchError> {
    if options.network == Kind::Veth && !options.peers.is_empty() {
        return Err(BenchError::Usage(
            "--peer is for --network loopback: what others started is not in the namespaces".to_owned(),
        ));
    }
    pin(options.load_core)?;
    let network = Network::enter(options.network, &options.namespaces)?;
    let port = options.serve_upstream.unwrap_or(options.upstream_port);
    let engine = Engine::new((network.load(), port), Duration::from_micros(options.chunk_gap))?;
    let upstream = engine.upstream_address();
    if options.serve_upstream.is_some() {
        say(&format!("mock upstream at http://{upstream}/v1"));
        loop {
            engine.serve(Duration::from_secs(1));
        }
    }
    let cases = Case::chosen(&options.only)?;
    let builds = start(options, &network, &engine)?;
    let yardsticks = Yardstick::all(options, &network, upstream)?;
    let mut targets = vec![Target {
        name: "direct".to_owned(),
        address: upstream,
        key: None,
        variant: None,
        pid: None,
        only: None,
        completed: 0,
    }];
    targets.extend(builds.iter().map(|build| Target {
        name: build.name.clone(),
        address: build.gateway.address,
        key: Some(build.gateway.key.clone()),
        variant: Some(build.variant),
        pid: Some(build.gateway.pid()),
        only: None,
        completed: 0,
    }));
    targets.extend(yardsticks.iter().map(|yardstick| Target {
        name: yardstick.name.to_owned(),
        address: yardstick.address,
        key: yardstick.key.clone(),
        variant: None,
        pid: Some(yardstick.pid()),
        only: yardstick.only,
        completed: 0,
    }));
    targets.extend(options.peers.iter().map(|peer| Target {
        name: peer.name.clone().unwrap_or_else(|| "peer".to_owned()),
        address: peer.value.address,
        key: None,
        variant: None,
        pid: Some(peer.value.pid),
        only: None,
        completed: 0,
    }));
    if options.profile {
        return profile(options, &engine, &targets, cases[0]);
    }
    let plan = Plan {
        cases,
        rounds: options.rounds(),
        warm_up: options.warm_up(),
        measured: options.measured(),
        watched: Watched {
            gateway: None,
            postmaster: options.postgres_pid,
            gateway_core: options.gateway_core,
            load_core: options.load_core,
            workers: options.workers(),
        },
    };
    let samples = plan.measure(&engine, &mut targets)?;
    let mut footprints = Vec::new();
    for (build, target) in builds.iter().zip(&mut targets[1..]) {
        if build.variant != Variant::Standard {
            continue;
        }
        measure::top_up(&engine, target, options.memory_requests())?;
        let (after, _) = procstat::memory(build.gateway.pid());
        let offered = options.answers_to_offer();
        if offered > 0 {
            measure::fill_cache(&engine, target, offered)?;
        }
        let (filled, highest) = procstat::memory(build.gateway.pid());
        footprints.push(Footprint {
            name: build.name.clone(),
            idle: build.idle,
            after,
            filled,
            highest,
            requests: target.completed,
            recorded: engine.block_on(build.gateway.recorded_requests(target.completed))?,
        });
    }
    let report = Report {
        machine: procstat::machine(),
        command: command_line(),
        targets,
        samples,
        footprints,
    };
    say(&report.markdown());
    report.write(&options.output)?;
    say(&format!("written to {}", options.output.display()));
    Ok(())
}

/// Starts every build to compare; all run at once, each on its own database, and idle while it is not their turn.
fn start(options: &Options, network: &Network, engine: &Engine) -> Result<Vec<Build>, BenchError> {
    if options.no_gateway {
        return Ok(Vec::new());
    }
    let mut binaries: Vec<(String, PathBuf, Variant)> = Vec::new();
    for (index, binary) in options.gateway_bins.iter().enumerate() {
        let name = binary.name.clone().unwrap_or_else(|| format!("mapleai-{}", index + 1));
        binaries.push((name, binary.value.clone(), Variant::Standard));
    }
    if binaries.is_empty() {
        return Err(BenchError::Usage("give --gateway-bin PATH or --no-gateway".to_owned()));
    }
    if !options.no_variants {
        let (name, binary, _) = binaries[0].clone();
        // Redis stays where loopback is, which a gateway in a namespace of its own does not reach.
        let redis = options.redis_url.is_some() && options.network == Kind::Loopback;
        let redis = redis.then_some(Variant::Redis);
        for variant in redis.into_iter().chain([Variant::Uncached, Variant::Unjournalled]) {
            binaries.push((format!("{name}{}", variant.suffix()), binary.clone(), variant));
        }
    }
    if options.database_urls.len() < binaries.len() {
        return Err(BenchError::Usage(format!(
            "{} builds need as many databases, but --database-url names {}; scripts/bench.sh starts a private server",
            binaries.len(),
            options.database_urls.len()
        )));
    }
    let folder = options.output.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).during(format!("creating {}", folder.display()))?;
    let upstream = engine.upstream_address();
    let mut builds = Vec::new();
    for ((name, binary, variant), database_url) in binaries.into_iter().zip(&options.database_urls) {
        let log = folder.join(format!("{name}.log"));
        // Each run starts its log afresh, so that what an error shows belongs to it.
        std::fs::write(&log, "").during(format!("writing {}", log.display()))?;
        let launch = Launch {
            binary: &binary,
            config: &options.config,
            database_url,
            variant,
            redis: options.redis_url.as_deref().filter(|_| variant == Variant::Redis),
            upstream,
            network,
            workers: options.workers(),
            cores: &options.measured_cores(),
            prefix: &options.gateway_prefix,
            log: &log,
        };
        // The mock upstream answers meanwhile: a gateway may look at its providers as it starts.
        let gateway = engine.block_on(Gateway::start(&launch))?;
        builds.push(Build {
            gateway,
            name,
            variant,
            idle: 0,
        });
    }
    // What starting took (assets compressed, a password hashed) goes back to the system within seconds.
    engine.serve(SETTLING);
    for build in &mut builds {
        (build.idle, _) = procstat::memory(build.gateway.pid());
    }
    Ok(builds)
}

fn profile(options: &Options, engine: &Engine, targets: &[Target], case: Case) -> Result<(), BenchError> {
    let proxied = targets.iter().find_map(|target| Some((target, target.pid?)));
    let (target, pid) = proxied.ok_or_else(|| BenchError::Usage("--profile needs a gateway".to_owned()))?;
    say(&format!(
        "{} has process id {pid}; for instance: perf record -g -p {pid} -- sleep 10",
        target.name
    ));
    let seconds = options
        .duration
        .map_or(Duration::from_mins(10), Duration::from_secs_f64);
    measure::repeat(engine, target, case, seconds)
}

/// Keeps this thread, and what it starts, on one core; and lets its short waits end on time.
fn pin(core: usize) -> Result<(), BenchError> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).during(format!(
        "pinning the load side to core {core} ({cores} usable here; see --load-core and --gateway-core)"
    ))?;
    set_current_timer_slack(NonZeroU64::new(1)).during("setting the timer slack")
}

fn command_line() -> String {
    let given: Vec<String> = std::env::args().skip(1).collect();
    format!("scripts/bench.sh {}", given.join(" ")).trim_end().to_owned()
}

/// A reader that went away must not turn a finished measurement into a failure.
fn say(text: &str) {
    let _ = writeln!(stdout(), "{text}");
}
