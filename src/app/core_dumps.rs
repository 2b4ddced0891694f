//! No core dumps: one would hold every secret and text that the process has in memory.

use rustix::process::{Resource, Rlimit, setrlimit};

/// For this process and what it starts. A limit of one byte, since programs that dumps are piped to (core(5)) are given whole ones
/// under a limit of none, and nothing under this one.
pub(super) fn forbid() {
    let one = Rlimit {
        current: Some(1),
        maximum: Some(1),
    };
    if let Err(error) = setrlimit(Resource::Core, one) {
        tracing::warn!(target: "mapleai::lifecycle", error = %error, "core dumps cannot be forbidden");
    }
}
