//! A limit on the work of a thread, rather than on the time that passes: on a busy machine an ordinary answer is not shown plain.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Of the calling thread.
pub(super) fn spent() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}
