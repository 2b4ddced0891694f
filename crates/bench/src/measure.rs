//! Runs the matrix: every target in turn in every round, so that a change of the machine's mood meets all of them, and every
//! other round backwards, since who comes first after a pause was seen to pay 5 us a request for it. With more than two ways
//! through a gateway those in the middle never pay it.

use std::{
    io::{Write, stderr},
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    cases::{Caching, Case},
    engine::Engine,
    error::BenchError,
    load::{Arrivals, Load},
    procstat::{Usage, Watched},
    request::{ChatRequest, FIRST_SEED},
    variant::Variant,
};

/// One way to the upstream.
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) key: Option<String>,
    /// None of what is not MapleAI.
    pub(crate) variant: Option<Variant>,
    /// The proxy's process; none when going direct.
    pub(crate) pid: Option<u32>,
    /// The only cases that tell anything of it; all tell of the rest.
    pub(crate) only: Option<Caching>,
    /// Answers received over the whole session, warm-up included.
    pub(crate) completed: u64,
}

impl Target {
    fn is_measured(&self, case: Case) -> bool {
        self.only.is_none_or(|only| only == case.caching)
            && self.variant.is_none_or(|variant| variant.is_measured(case))
    }
}

/// One case on one target in one round.
pub(crate) struct Sample {
    pub(crate) case: Case,
    pub(crate) target: usize,
    pub(crate) round: usize,
    /// Microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) first_chunk_p50: f64,
    pub(crate) first_chunk_p99: f64,
    pub(crate) lateness_p99: f64,
    pub(crate) per_second: f64,
    pub(crate) chunks_per_answer: f64,
    pub(crate) cpu_micros: f64,
    pub(crate) errors: u64,
    /// Percent of the answers that came from where the case wants them: the cache, or the upstream.
    pub(crate) as_meant: f64,
    pub(crate) elapsed: Duration,
    pub(crate) usage: Usage,
}

/// What stays the same for a whole session.
pub(crate) struct Plan {
    pub(crate) cases: Vec<Case>,
    pub(crate) rounds: usize,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
    /// The `gateway` field is filled in per target.
    pub(crate) watched: Watched,
}

impl Plan {
    pub(crate) fn measure(&self, engine: &Engine, targets: &mut [Target]) -> Result<Vec<Sample>, BenchError> {
        let mut samples = Vec::new();
        for round in 0..self.rounds {
            for &case in &self.cases {
                for place in 0..targets.len() {
                    let index = if round % 2 == 0 {
                        place
                    } else {
                        targets.len() - 1 - place
                    };
                    let target = &mut targets[index];
                    if !target.is_measured(case) {
                        continue;
                    }
                    let sample = self.sample(engine, target, case, (index, round))?;
                    // Progress is a courtesy: a closed standard error must not end a measurement.
                    let _ = writeln!(
                        stderr(),
                        "round {}: {}, {}: {:.0}/s, p50 {:.0} us, p99 {:.0} us, {} errors",
                        round + 1,
                        case.title(),
                        target.name,
                        sample.per_second,
                        sample.p50,
                        sample.p99,
                        sample.errors
                    );
                    samples.push(sample);
                }
            }
        }
        Ok(samples)
    }

    fn sample(
        &self,
        engine: &Engine,
        target: &mut Target,
        case: Case,
        (index, round): (usize, usize),
    ) -> Result<Sample, BenchError> {
        let watched = Watched {
            gateway: target.pid,
            ..self.watched
        };
        let mut load = load(target, case.streamed, case.caching)?;
        let (warm_up, _) = engine.run(&mut load, case.arrivals, self.warm_up)?;
        let before = watched.usage();
        let (tally, elapsed) = engine.run(&mut load, case.arrivals, self.measured)?;
        let usage = watched.usage() - before;
        target.completed += warm_up.completed + tally.completed;
        let answers = tally.completed.max(1) as f64;
        Ok(Sample {
            case,
            target: index,
            round,
            p50: tally.latency.quantile_micros(0.50),
            p99: tally.latency.quantile_micros(0.99),
            first_chunk_p50: tally.first_chunk.quantile_micros(0.50),
            first_chunk_p99: tally.first_chunk.quantile_micros(0.99),
            lateness_p99: tally.lateness.quantile_micros(0.99),
            per_second: tally.completed as f64 / elapsed.as_secs_f64(),
            chunks_per_answer: tally.chunks as f64 / answers,
            cpu_micros: usage.gateway.as_secs_f64() * 1e6 / answers,
            errors: tally.errors,
            as_meant: 100.0 * tally.as_meant as f64 / answers,
            elapsed,
            usage,
        })
    }
}

/// Keeps sending plain requests until `wanted` answers have come through a target; gives up on one that errs.
pub(crate) fn top_up(engine: &Engine, target: &mut Target, wanted: u64) -> Result<(), BenchError> {
    let mut load = load(target, false, Caching::Bypass)?;
    while target.completed < wanted {
        let (tally, _) = engine.run(&mut load, Arrivals::Closed, Duration::from_secs(1))?;
        if tally.completed == 0 {
            break;
        }
        target.completed += tally.completed;
    }
    Ok(())
}

/// Sends distinct requests, each of which leaves an answer in the cache.
pub(crate) fn fill_cache(engine: &Engine, target: &mut Target, requests: u64) -> Result<(), BenchError> {
    let wanted = target.completed + requests;
    let mut load = load(target, false, Caching::Miss)?;
    while target.completed < wanted {
        let (tally, _) = engine.run(&mut load, Arrivals::Closed, Duration::from_secs(5))?;
        let _ = writeln!(
            stderr(),
            "{}: {} answers to go",
            target.name,
            wanted.saturating_sub(target.completed)
        );
        if tally.completed == 0 {
            break;
        }
        target.completed += tally.completed;
    }
    Ok(())
}

/// Repeats one case for a profiler to look at, until `duration` is over.
pub(crate) fn repeat(engine: &Engine, target: &Target, case: Case, duration: Duration) -> Result<(), BenchError> {
    let mut load = load(target, case.streamed, case.caching)?;
    let step = Duration::from_secs(5);
    for _ in 0..duration.as_secs().div_ceil(step.as_secs()).max(1) {
        let (tally, elapsed) = engine.run(&mut load, case.arrivals, step.min(duration))?;
        let rate = tally.completed as f64 / elapsed.as_secs_f64();
        let _ = writeln!(stderr(), "{}: {rate:.0}/s, {} errors", case.title(), tally.errors);
    }
    Ok(())
}

/// Each run has seeds of its own, more than it could ever send.
const SEEDS_EACH: u64 = 100_000_000;
static SEEDS: AtomicU64 = AtomicU64::new(0);

fn load(target: &Target, streamed: bool, caching: Caching) -> Result<Load, BenchError> {
    let first_seed = FIRST_SEED + SEEDS.fetch_add(SEEDS_EACH, Ordering::Relaxed);
    let request = ChatRequest::new(target.key.as_deref(), streamed, caching, first_seed)?;
    let meant = target.variant.map(|variant| variant.expects(caching));
    Ok(Load::new(target.address, request, streamed, meant))
}
