//! Random histories of two operating-system processes and a real Redis that comes and goes, held against a model: nobody
//! sees what was overwritten longer ago than the bound, and nobody ever sees another tenant's.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng, rngs::StdRng};

use super::rig::{Backend, LOCAL_TTL, Process, key, text};
use crate::support::{TIMEOUT, redis::Redis};

const SEQUENCES: usize = 500;
const MAX_STEPS: usize = 10;
const TENANTS: u128 = 2;
const NAMES: [&str; 3] = ["a", "b", "c"];

/// While Redis and the channel are well.
const BOUND: Duration = Duration::from_secs(1);
/// Around outages: what is believed without hearing from others, and the time that it takes to notice.
const BOUND_IN_OUTAGES: Duration = LOCAL_TTL.saturating_add(BOUND);

const FOLDER: &str = "TIERS_MODEL_FOLDER";
const URL: &str = "TIERS_MODEL_REDIS";

/// Where the truth stands: one file for each key. What a database is to the service.
fn truth(folder: &Path, tenant: u128, name: &str) -> PathBuf {
    folder.join(format!("{tenant}-{name}"))
}

/// The other end: obeys lines of `get|set|drop tenant name [version]`. Not a test by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "the program of the processes that the model test starts"]
async fn worker() {
    let (Ok(folder), Ok(url)) = (std::env::var(FOLDER), std::env::var(URL)) else {
        return;
    };
    let process = Process::start(&Backend::at(&url)).await;
    println!("\n@ready");
    let (sender, mut commands) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    while let Some(command) = commands.recv().await {
        let words: Vec<_> = command.split(' ').collect();
        let (tenant, name): (u128, _) = (words[1].parse().unwrap(), words[2]);
        let file = truth(Path::new(&folder), tenant, name);
        let wanted = key(tenant, name);
        let answer = match words[0] {
            "get" => {
                let load = || async move { Ok(fs::read_to_string(file).ok().map(|found| text(&found))) };
                let found = process.cache.get_or_load(wanted, load).await.unwrap();
                found.map_or_else(|| "none".to_owned(), |found| found.0)
            }
            "set" => {
                let next = file.with_extension("next");
                fs::write(&next, format!("{tenant}/{name}/{}", words[3])).unwrap();
                fs::rename(next, file).unwrap();
                process.cache.invalidate(&[wanted]).await;
                "done".to_owned()
            }
            // An invalidation without a write: nothing may go wrong by it.
            "drop" => {
                process.cache.invalidate(&[wanted]).await;
                "done".to_owned()
            }
            other => panic!("{other}"),
        };
        println!("@{answer}");
    }
}

struct Worker {
    child: Child,
    commands: ChildStdin,
    answers: mpsc::Receiver<String>,
}

impl Worker {
    fn start(folder: &Path, url: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["tiers::model::worker", "--exact", "--ignored", "--nocapture"])
            .env(FOLDER, folder)
            .env(URL, url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, answers) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(answer) = line.strip_prefix('@') {
                    let _ = sender.send(answer.to_owned());
                }
            }
        });
        let worker = Self {
            commands: child.stdin.take().unwrap(),
            child,
            answers,
        };
        assert_eq!(worker.answer(), "ready");
        worker
    }

    fn tell(&mut self, command: &str) {
        writeln!(self.commands, "{command}").unwrap();
    }

    fn answer(&self) -> String {
        self.answers.recv_timeout(TIMEOUT).expect("the worker's answer")
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What has been written, and when it had been written over.
#[derive(Default)]
struct Model {
    /// Of each key: for each version when the next one was complete, and by whom.
    overwritten: HashMap<(u128, &'static str), Vec<(Instant, usize)>>,
    /// When Redis was last known to be away, or was just back.
    outage: Option<Instant>,
}

impl Model {
    fn next_version(&self, place: (u128, &'static str)) -> usize {
        self.overwritten.get(&place).map_or(0, Vec::len) + 1
    }

    fn written(&mut self, place: (u128, &'static str), by: usize) {
        self.overwritten.entry(place).or_default().push((Instant::now(), by));
    }

    /// Holds what `reader` saw, having asked at `asked`, against the bounds.
    fn check(&self, (tenant, name): (u128, &'static str), reader: usize, asked: Instant, seen: &str) {
        let version = if seen == "none" {
            0
        } else {
            let parts: Vec<_> = seen.split('/').collect();
            assert_eq!(
                (parts[0], parts[1]),
                (tenant.to_string().as_str(), name),
                "somebody else's value"
            );
            parts[2].parse::<usize>().unwrap()
        };
        // Version n was written over by the write that made version n + 1.
        let Some((at, by)) = self
            .overwritten
            .get(&(tenant, name))
            .and_then(|writes| writes.get(version))
        else {
            return;
        };
        let stale = asked.saturating_duration_since(*at);
        let disturbed = self.outage.is_some_and(|last| last + BOUND_IN_OUTAGES > *at);
        let bound = if *by == reader {
            Duration::ZERO
        } else if disturbed {
            BOUND_IN_OUTAGES
        } else {
            BOUND
        };
        assert!(
            stale <= bound || (*by != reader && asked < *at),
            "{tenant}/{name}: process {reader} saw version {version}, {stale:?} after process {by} had written over it; allowed {bound:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn no_history_shows_what_is_too_old_or_somebody_elses() {
    let dealt: u64 = std::env::var("TIERS_MODEL_SEED")
        .ok()
        .and_then(|given| given.parse().ok())
        .unwrap_or_else(rand::random);
    eprintln!("TIERS_MODEL_SEED={dealt} repeats this history's decisions");
    let mut dice = StdRng::seed_from_u64(dealt);
    let folder = tempfile::tempdir().unwrap();
    let mut redis = Redis::start().await;
    let mut workers = [
        Worker::start(folder.path(), &redis.url()),
        Worker::start(folder.path(), &redis.url()),
    ];
    let mut model = Model::default();
    let (mut reads, mut outages) = (0, 0);
    for _ in 0..SEQUENCES {
        for _ in 0..dice.random_range(2..=MAX_STEPS) {
            let place = (dice.random_range(1..=TENANTS), NAMES[dice.random_range(0..NAMES.len())]);
            let (tenant, name) = place;
            let who = dice.random_range(0..2);
            match dice.random_range(0..1_000) {
                0..600 => {
                    let asked = Instant::now();
                    workers[who].tell(&format!("get {tenant} {name}"));
                    let seen = workers[who].answer();
                    model.check(place, who, asked, &seen);
                    reads += 1;
                }
                600..850 => {
                    let version = model.next_version(place);
                    workers[who].tell(&format!("set {tenant} {name} {version}"));
                    // Sometimes the other reads meanwhile.
                    let other = 1 - who;
                    let racing = dice.random_bool(0.5);
                    let asked = Instant::now();
                    if racing {
                        workers[other].tell(&format!("get {tenant} {name}"));
                    }
                    assert_eq!(workers[who].answer(), "done");
                    model.written(place, who);
                    if racing {
                        let seen = workers[other].answer();
                        model.check(place, other, asked, &seen);
                    }
                }
                850..940 => {
                    workers[who].tell(&format!("drop {tenant} {name}"));
                    assert_eq!(workers[who].answer(), "done");
                }
                940..990 => tokio::time::sleep(Duration::from_millis(dice.random_range(1..400))).await,
                _ => {
                    outages += 1;
                    let length = Duration::from_millis(dice.random_range(20..1_500));
                    model.outage = Some(Instant::now() + length);
                    if dice.random_bool(0.5) {
                        redis.hang();
                        model_outage(&mut workers, &mut model, place, length).await;
                        redis.wake();
                    } else {
                        redis.kill();
                        model_outage(&mut workers, &mut model, place, length).await;
                        redis.bring_back().await;
                    }
                    model.outage = Some(Instant::now());
                }
            }
        }
    }
    eprintln!("{SEQUENCES} sequences, {reads} reads, {outages} outages");
    assert!(reads > 1_000 && outages > 3, "{reads} reads, {outages} outages");
}

/// One reads and the other writes while Redis is away.
async fn model_outage(workers: &mut [Worker; 2], model: &mut Model, place: (u128, &'static str), length: Duration) {
    let (tenant, name) = place;
    let until = Instant::now() + length;
    while Instant::now() < until {
        let version = model.next_version(place);
        workers[0].tell(&format!("set {tenant} {name} {version}"));
        assert_eq!(workers[0].answer(), "done");
        model.written(place, 0);
        for who in [0, 1] {
            let asked = Instant::now();
            workers[who].tell(&format!("get {tenant} {name}"));
            let seen = workers[who].answer();
            model.check(place, who, asked, &seen);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
