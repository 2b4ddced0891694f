//! How many threads compute.
//!
//! One fewer than the processors that this process may use, by its affinity and its share of time: with as many threads as processors,
//! each waits for the slowest as soon as anything else runs, and answers come ten times slower.

use std::{env, io, num::NonZeroUsize, os::unix::process::CommandExt, process::Command, thread};

/// Read by the engine's library, once and at its first use.
const VARIABLE: &str = "RAYON_NUM_THREADS";

/// The number of threads, set for the engine: the process replaces itself by one that has the variable, since a running one cannot set it
/// safely. A number that a person has set stays.
pub(super) fn settle() -> io::Result<usize> {
    if let Some(set) = env::var(VARIABLE)
        .ok()
        .and_then(|text| text.parse::<NonZeroUsize>().ok())
    {
        return Ok(set.get());
    }
    let allowed = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = allowed.saturating_sub(1).max(1);
    let error = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(VARIABLE, threads.to_string())
        .exec();
    Err(error)
}
