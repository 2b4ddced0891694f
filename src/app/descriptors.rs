//! File descriptors: as many as the system gives, and some of them kept from callers.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For what is no caller's: the operations listener, pools, the journal and the log.
const RESERVED: u64 = 384;
/// Where even that is too much: half of what there is.
const HALF: u64 = 2;
/// A call to a model takes one at each end.
const PER_CONNECTION: u64 = 2;

/// How many of the wanted connections there are descriptors for. Raises the process's soft limit to its hard one first; nothing here uses
/// `select`, which is what the low default is for.
pub(super) fn connections(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(target: "mapleai::lifecycle", error = %error, "the limit on open files stays as it is");
        }
    }
    // None means that there is no limit.
    let Some(limit) = getrlimit(Resource::Nofile).current else {
        return wanted;
    };
    let possible = affordable(limit);
    if possible < wanted {
        tracing::warn!(target: "mapleai::lifecycle", open_files = limit, wanted, connections = possible, "fewer connections than configured: the limit on open files is too low for more");
    }
    wanted.min(possible)
}

fn affordable(limit: u64) -> usize {
    let left = limit.saturating_sub(RESERVED).max(limit / HALF);
    usize::try_from((left / PER_CONNECTION).max(1)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::{affordable, connections};

    #[test]
    fn something_is_always_left() {
        assert_eq!([200, 1024, 65_536].map(affordable), [50, 320, 32_576]);
        assert_eq!([0, 1, 4].map(affordable), [1, 1, 1]);
    }

    #[test]
    fn no_more_than_wanted() {
        assert_eq!(connections(7), 7);
    }
}
