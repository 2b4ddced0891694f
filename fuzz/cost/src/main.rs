//! Looks for texts that cost the renderer more than they are long. See ../../README.md.

#[path = "../../../src/web/markdown/escape.rs"]
mod escape;
#[path = "../../../src/web/markdown/families.rs"]
mod families;
#[path = "../../../src/web/markdown/html.rs"]
mod html;
#[path = "../../../src/web/markdown/node.rs"]
mod node;
#[path = "../../../src/web/markdown/shape.rs"]
mod shape;
#[path = "../../../src/web/markdown/writer.rs"]
mod writer;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

/// What a rendering may take, as the service has it; and by how much it may overrun that until it looks.
const MAX_CPU: Duration = Duration::from_millis(50);
const MAX_OVERRUN: Duration = Duration::from_millis(60);
const MAX_MEMORY: usize = 16 * 1024 * 1024;
/// Longest text that is tried, in bytes.
const MAX_TEXT: usize = 200_000;
/// Costly texts that are changed further, by each of the costs.
const KEPT: usize = 24;

/// Counts what is allocated.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all of it is the system's; only sums are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

struct Cost {
    cpu: Duration,
    memory: usize,
    html: usize,
    /// Looks at the deadline, one for 256 steps.
    looks: u64,
    outcome: Result<(), html::TooMuch>,
}

/// Renders; panics if what comes out is not as it must be.
fn cost(text: &str, deadline: Option<Duration>) -> Cost {
    let (before, begun, looks) = (NOW.load(Relaxed), cpu(), std::cell::Cell::new(0));
    PEAK.store(before, Relaxed);
    let is_over = || {
        looks.set(looks.get() + 1);
        deadline.is_some_and(|deadline| cpu() - begun > deadline)
    };
    let rendered = html::to_html(text, &is_over);
    let (cpu, memory) = (cpu() - begun, PEAK.load(Relaxed).saturating_sub(before));
    if let Ok(html) = &rendered {
        assert!(html.len() <= html::max_html(text.len()), "{} bytes of HTML", html.len());
        if let Err(wrong) = shape::check(html) {
            panic!("{wrong}\n--- text\n{text:?}\n--- html\n{html:?}");
        }
    }
    Cost {
        cpu,
        memory,
        html: rendered.as_ref().map_or(0, String::len),
        looks: looks.get(),
        outcome: rendered.map(|_| ()),
    }
}

/// A text as it is made: pieces, each so many times.
#[derive(Clone)]
struct Recipe(Vec<(Vec<usize>, usize)>);

const PIECES: [&str; 74] = [
    ">",
    "> ",
    "- ",
    "* ",
    "+ ",
    "1. ",
    "12) ",
    "#",
    "# ",
    "=",
    "---",
    "***",
    "|",
    "|-",
    "|:-:|",
    "\n",
    "\n\n",
    "\r\n",
    " ",
    "    ",
    "\t",
    "`",
    "``",
    "```",
    "~~~",
    "*",
    "**",
    "***",
    "_",
    "__",
    "~",
    "~~",
    "[",
    "]",
    "(",
    ")",
    "![",
    "](",
    "]: ",
    "][",
    "<",
    ">",
    "</",
    "<!--",
    "-->",
    "<![CDATA[",
    "<?",
    "<a ",
    "<div>\n",
    "\\",
    "&",
    "&amp;",
    "&#",
    ";",
    "\"",
    "'",
    "a",
    "a b",
    "x.y",
    "www.a.b",
    "http://a.b",
    "@",
    "a@b.c",
    ":",
    "/",
    "?",
    "é",
    "的",
    "“",
    "😀",
    "[ ] ",
    "[x] ",
    "\0",
    "^",
];

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit.max(1)
    }

    fn part(&mut self) -> (Vec<usize>, usize) {
        let length = 1 + self.below(6);
        let times = [1, 1, 2, 10, 100, 1_000, 10_000, 60_000][self.below(8)];
        ((0..length).map(|_| self.below(PIECES.len())).collect(), times)
    }
}

impl Recipe {
    fn fresh(random: &mut Random) -> Self {
        Self((0..1 + random.below(4)).map(|_| random.part()).collect())
    }

    fn changed(&self, random: &mut Random) -> Self {
        let mut parts = self.0.clone();
        let at = random.below(parts.len());
        match random.below(7) {
            0 => parts.push(random.part()),
            1 if parts.len() > 1 => drop(parts.remove(at)),
            2 => parts[at].1 = (parts[at].1 * 2).min(100_000),
            3 => parts[at].1 = (parts[at].1 / 2).max(1),
            4 => parts[at].0.push(random.below(PIECES.len())),
            5 => {
                let piece = random.below(parts[at].0.len());
                parts[at].0[piece] = random.below(PIECES.len());
            }
            _ => parts.insert(at, random.part()),
        }
        parts.truncate(8);
        for part in &mut parts {
            part.0.truncate(12);
        }
        Self(parts)
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (pieces, times) in &self.0 {
            for _ in 0..*times {
                for piece in pieces {
                    text.push_str(PIECES[*piece]);
                }
                if text.len() > MAX_TEXT {
                    let end = text.floor_char_boundary(MAX_TEXT);
                    text.truncate(end);
                    return text;
                }
            }
        }
        text
    }

    fn told(&self) -> String {
        let told = self.0.iter().map(|(pieces, times)| {
            let unit: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
            format!("{unit:?} x {times}")
        });
        told.collect::<Vec<_>>().join(" + ")
    }
}

fn report() {
    println!(
        "{:32} {:>8} {:>9} {:>9} {:>10}  outcome",
        "family", "bytes", "CPU ms", "MiB", "HTML"
    );
    for (name, text) in families::families() {
        let cost = cost(&text, None);
        println!(
            "{name:32} {:>8} {:>9.2} {:>9.2} {:>10}  {:?}",
            text.len(),
            cost.cpu.as_secs_f64() * 1e3,
            cost.memory as f64 / 1_048_576.0,
            cost.html,
            cost.outcome
        );
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    if arguments.iter().any(|argument| argument == "--report") {
        report();
        return ExitCode::SUCCESS;
    }
    let until = Instant::now() + Duration::from_secs(value("--seconds").unwrap_or(60));
    let mut random = Random(value("--seed").unwrap_or(0x9e37_79b9_7f4a_7c15));
    // Of each cost: what costs most for its length.
    let mut kept: [Vec<(f64, Recipe)>; 4] = Default::default();
    let (mut tried, mut found) = (0_u64, Vec::new());
    while Instant::now() < until {
        let pool = random.below(kept.len());
        let recipe = if kept[pool].is_empty() || random.below(4) == 0 {
            Recipe::fresh(&mut random)
        } else {
            let chosen = random.below(kept[pool].len());
            kept[pool][chosen].1.changed(&mut random)
        };
        let text = recipe.text();
        let cost = cost(&text, Some(MAX_CPU));
        tried += 1;
        let length = text.len() as f64 + 1_000.0;
        let scores = [
            cost.cpu.as_secs_f64() / length,
            cost.memory as f64 / length,
            cost.html as f64 / length,
            cost.looks as f64 / length,
        ];
        for (pool, score) in kept.iter_mut().zip(scores) {
            if pool.len() < KEPT || pool.last().is_some_and(|last| last.0 < score) {
                pool.push((score, recipe.clone()));
                pool.sort_by(|one, other| other.0.total_cmp(&one.0));
                pool.truncate(KEPT);
            }
        }
        if cost.cpu > MAX_OVERRUN || cost.memory > MAX_MEMORY {
            // Once more: another process may have been in the way of its caches.
            let again = self::cost(&text, Some(MAX_CPU));
            if again.cpu > MAX_OVERRUN || again.memory > MAX_MEMORY {
                let told = format!(
                    "{:.0} ms, {:.1} MiB, {:?} for {} bytes: {}",
                    again.cpu.as_secs_f64() * 1e3,
                    again.memory as f64 / 1_048_576.0,
                    again.outcome,
                    text.len(),
                    recipe.told()
                );
                if found.len() < 40 {
                    println!("{told}");
                    found.push(told);
                }
            }
        }
    }
    for (name, pool) in ["CPU", "memory", "HTML", "steps"].iter().zip(&kept) {
        if let Some((score, recipe)) = pool.first() {
            println!("most {name} for its length: {score:.3e} a byte: {}", recipe.told());
        }
    }
    println!("{tried} texts tried, {} beyond 50 ms or 16 MiB", found.len());
    if found.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
