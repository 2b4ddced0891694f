//! Medians over the rounds, as tables for people and as JSON for comparison.

mod parts;
mod ratios;

use std::{fs, path::Path, time::SystemTime};

use serde_json::{Value, json};

use crate::{
    cases::Case,
    error::{BenchError, During},
    histogram::median,
    load::Arrivals,
    measure::{Sample, Target},
    procstat::share,
    table::Table,
};

/// Above this share of a core, in percent, the core is what limits a closed loop.
const SATURATED: f64 = 95.0;

/// Above this share of a core for other programs, in percent, a warning goes with the figures.
const DISTURBED: f64 = 10.0;

/// What one build took to run, and whether it wrote everything down.
pub(crate) struct Footprint {
    pub(crate) name: String,
    pub(crate) idle: u64,
    pub(crate) after: u64,
    /// With as many distinct answers offered to the cache as the options say.
    pub(crate) filled: u64,
    pub(crate) highest: u64,
    pub(crate) requests: u64,
    /// Requests that the build's own usage records account for.
    pub(crate) recorded: u64,
}

pub(crate) struct Report {
    pub(crate) machine: String,
    pub(crate) command: String,
    pub(crate) targets: Vec<Target>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) footprints: Vec<Footprint>,
}

/// The medians of one case on one target.
struct Row {
    case: Case,
    target: usize,
    p50: f64,
    p99: f64,
    added_p50: f64,
    added_p99: f64,
    first_chunk_p50: f64,
    first_chunk_p99: f64,
    lateness_p99: f64,
    per_second: f64,
    chunks: f64,
    cpu_micros: f64,
    errors: u64,
    as_meant: f64,
    gateway_core: f64,
    load_core: f64,
    harness: f64,
    postgres: f64,
    foreign: f64,
}

impl Row {
    /// Only in closed loop is there a limit to hit; in open loop the load side spins, and its core looks busy.
    fn limit(&self) -> &'static str {
        if self.case.arrivals != Arrivals::Closed {
            "the rate asked for"
        } else if self.target > 0 && self.gateway_core >= SATURATED {
            "gateway"
        } else if self.load_core >= SATURATED {
            "load side"
        } else {
            "waiting"
        }
    }

    /// What one whole core of the gateway's would answer, judged by its processor time.
    fn per_core_second(&self) -> f64 {
        if self.cpu_micros > 0.0 {
            1e6 / self.cpu_micros
        } else {
            0.0
        }
    }
}

impl Report {
    fn rows(&self) -> Vec<Row> {
        let mut cases: Vec<Case> = Vec::new();
        for sample in &self.samples {
            if !cases.contains(&sample.case) {
                cases.push(sample.case);
            }
        }
        let targets = 0..self.targets.len();
        cases
            .iter()
            .flat_map(|&case| targets.clone().map(move |target| (case, target)))
            .filter(|&(case, target)| {
                let mut samples = self.samples.iter();
                samples.any(|sample| sample.case == case && sample.target == target)
            })
            .map(|(case, target)| self.row(case, target))
            .collect()
    }

    fn row(&self, case: Case, target: usize) -> Row {
        let of = |target: usize| {
            self.samples
                .iter()
                .filter(move |sample| sample.case == case && sample.target == target)
        };
        let middle = |figure: &dyn Fn(&Sample) -> f64| median(of(target).map(figure));
        // Differences are taken within a round, where both ways met the same machine.
        let added = |figure: &dyn Fn(&Sample) -> f64| {
            median(of(target).filter_map(|sample| {
                let direct = of(0).find(|direct| direct.round == sample.round)?;
                Some(figure(sample) - figure(direct))
            }))
        };
        Row {
            case,
            target,
            p50: middle(&|sample| sample.p50),
            p99: middle(&|sample| sample.p99),
            added_p50: added(&|sample| sample.p50),
            added_p99: added(&|sample| sample.p99),
            first_chunk_p50: middle(&|sample| sample.first_chunk_p50),
            first_chunk_p99: middle(&|sample| sample.first_chunk_p99),
            lateness_p99: middle(&|sample| sample.lateness_p99),
            per_second: middle(&|sample| sample.per_second),
            chunks: middle(&|sample| sample.chunks_per_answer),
            cpu_micros: middle(&|sample| sample.cpu_micros),
            errors: of(target).map(|sample| sample.errors).sum(),
            as_meant: middle(&|sample| sample.as_meant),
            gateway_core: middle(&|sample| sample.usage.gateway_core_percent(sample.elapsed)),
            load_core: middle(&|sample| sample.usage.load_core_percent(sample.elapsed)),
            harness: middle(&|sample| share(sample.usage.harness, sample.elapsed)),
            postgres: middle(&|sample| share(sample.usage.postgres, sample.elapsed)),
            foreign: middle(&|sample| sample.usage.foreign_percent(sample.elapsed)),
        }
    }

    /// The tables, readable as they are and valid Markdown.
    pub(crate) fn markdown(&self) -> String {
        let rows = self.rows();
        let millis = |micros: f64| format!("{:.3}", micros / 1_000.0);
        let whole = |figure: f64| format!("{figure:.0}");
        let mut latency = Table::new(
            "case | way | p50 ms | p99 ms | added p50 | added p99 | first chunk p50 | first chunk p99 | errors \
             | cache as meant %",
        );
        let mut cost = Table::new(
            "case | way | answers/s | CPU us/request | answers per core-second | gateway core % | load core % \
             | harness % | PostgreSQL % | others % | chunks/answer | limited by",
        );
        for row in &rows {
            let way = self.targets[row.target].name.clone();
            let proxied = row.target > 0;
            let only = |show: bool, text: String| if show { text } else { "-".to_owned() };
            latency.push(vec![
                row.case.title(),
                way.clone(),
                millis(row.p50),
                millis(row.p99),
                only(proxied, millis(row.added_p50)),
                only(proxied, millis(row.added_p99)),
                only(row.case.streamed, millis(row.first_chunk_p50)),
                only(row.case.streamed, millis(row.first_chunk_p99)),
                row.errors.to_string(),
                only(proxied, format!("{:.1}", row.as_meant)),
            ]);
            cost.push(vec![
                row.case.title(),
                way,
                whole(row.per_second),
                only(proxied, format!("{:.1}", row.cpu_micros)),
                only(proxied, whole(row.per_core_second())),
                only(proxied, whole(row.gateway_core)),
                whole(row.load_core),
                whole(row.harness),
                whole(row.postgres),
                whole(row.foreign),
                format!("{:.1}", row.chunks),
                row.limit().to_owned(),
            ]);
        }
        let mut memory =
            Table::new("build | idle MiB | after MiB | cache offered MiB | highest MiB | requests | usage records");
        for print in &self.footprints {
            let mib = |bytes: u64| format!("{:.1}", bytes as f64 / 1_048_576.0);
            memory.push(vec![
                print.name.clone(),
                mib(print.idle),
                mib(print.after),
                mib(print.filled),
                mib(print.highest),
                print.requests.to_string(),
                print.recorded.to_string(),
            ]);
        }
        let foreign = rows.iter().map(|row| row.foreign).fold(0.0, f64::max);
        let warning = if foreign > DISTURBED {
            format!("Disturbed: other programs took up to {foreign:.0} % of a core; repeat on an idle machine.\n")
        } else {
            String::new()
        };
        format!(
            "Machine: {}\nCommand: `{}`\n{warning}\n{}\n{}\n{}\n{}\n{}",
            self.machine,
            self.command,
            latency.render(),
            cost.render(),
            memory.render(),
            parts::parts(&rows, &self.targets).render(),
            ratios::ratios(&rows, &self.targets).render()
        )
    }

    #[expect(clippy::disallowed_methods, reason = "a report says when it was made")]
    fn json(&self) -> Value {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let rows: Vec<Value> = self
            .rows()
            .iter()
            .map(|row| {
                json!({
                    "case": row.case.id(), "way": self.targets[row.target].name,
                    "p50_us": row.p50, "p99_us": row.p99,
                    "added_p50_us": row.added_p50, "added_p99_us": row.added_p99,
                    "first_chunk_p50_us": row.first_chunk_p50, "first_chunk_p99_us": row.first_chunk_p99,
                    "send_lateness_p99_us": row.lateness_p99, "errors": row.errors, "cache_as_meant_percent": row.as_meant,
                    "answers_per_second": row.per_second, "chunks_per_answer": row.chunks,
                    "gateway_cpu_us_per_request": row.cpu_micros,
                    "answers_per_core_second": row.per_core_second(),
                    "gateway_core_percent": row.gateway_core, "load_core_percent": row.load_core,
                    "harness_percent": row.harness, "postgres_percent": row.postgres,
                    "others_percent": row.foreign,
                    "limited_by": row.limit(),
                })
            })
            .collect();
        let memory: Vec<Value> = self
            .footprints
            .iter()
            .map(|print| {
                json!({
                    "build": print.name, "idle_bytes": print.idle, "after_bytes": print.after, "cache_offered_bytes": print.filled,
                    "highest_bytes": print.highest, "requests": print.requests, "usage_records": print.recorded,
                })
            })
            .collect();
        json!({
            "machine": self.machine, "command": self.command, "unix_time": now.as_secs(),
            "rows": rows, "memory": memory,
        })
    }

    /// Writes the JSON to `path` and the tables beside it, with the extension `md`.
    pub(crate) fn write(&self, path: &Path) -> Result<(), BenchError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).during(format!("creating {}", folder.display()))?;
        }
        let text = format!("{:#}\n", self.json());
        fs::write(path, text).during(format!("writing {}", path.display()))?;
        let tables = path.with_extension("md");
        fs::write(&tables, self.markdown()).during(format!("writing {}", tables.display()))
    }
}
