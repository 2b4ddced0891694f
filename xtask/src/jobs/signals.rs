//! Signals that end this process: noted here, and acted upon by whoever waits.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    flag,
};

use crate::error::TaskError;

pub(super) struct Signals {
    received: Arc<AtomicUsize>,
}

impl Signals {
    /// A program gets the default of a signal that its parent has a handler for. Runners that start this by `nohup … &` leave INT and QUIT
    /// ignored, which all that is started here would inherit: hence a handler that does nothing. HUP stays ignored, for all of them.
    pub(super) fn catch() -> Result<Self, TaskError> {
        let received = Arc::new(AtomicUsize::new(0));
        let ignored = fs::read_to_string("/proc/self/status").map_or(0, |status| ignored_of(&status));
        let is_ignored = |signal: i32| ignored >> (signal - 1) & 1 == 1;
        for signal in [SIGINT, SIGQUIT, SIGHUP, SIGTERM] {
            match (signal, is_ignored(signal)) {
                (SIGINT | SIGQUIT, true) => flag::register(signal, Arc::new(AtomicBool::new(false))).map(|_| ()),
                (SIGQUIT, false) | (SIGHUP, true) => Ok(()),
                _ => {
                    let number = usize::try_from(signal).unwrap_or_default();
                    flag::register_usize(signal, Arc::clone(&received), number).map(|_| ())
                }
            }
            .map_err(TaskError::file("the handlers of signals"))?;
        }
        Ok(Self { received })
    }

    pub(super) fn received(&self) -> Option<i32> {
        let number = self.received.load(Ordering::Relaxed);
        i32::try_from(number).ok().filter(|number| *number != 0)
    }
}

/// The mask of ignored signals in /proc/…/status.
fn ignored_of(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::ignored_of;

    #[test]
    fn ignored_signals_are_read_from_the_kernels_mask() {
        let status = "Name:\tsh\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000006\nSigCgt:\t0000000000010002\n";
        assert_eq!(ignored_of(status), 0b110);
        assert_eq!(ignored_of("Name:\tsh\n"), 0);
    }
}
