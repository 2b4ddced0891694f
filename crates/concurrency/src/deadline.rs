//! A limit on waiting that costs nothing where there is nothing to wait for.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use tokio::time::{Sleep, sleep};

/// The wait was longer than its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not within the limit")]
pub struct Elapsed;

/// Waits for `work` at most `limit`. Unlike tokio's `timeout` it makes no timer, and reads no clock, for what is there
/// already, as most bodies are when somebody asks for them.
pub fn within<F: Future>(limit: Duration, work: F) -> impl Future<Output = Result<F::Output, Elapsed>> {
    within_what_is_left(move || limit, work)
}

/// The same with a limit that is asked for when the wait begins.
pub async fn within_what_is_left<F: Future>(limit: impl FnOnce() -> Duration, work: F) -> Result<F::Output, Elapsed> {
    let mut limit = Some(limit);
    let mut work = pin!(work);
    let mut timer = pin!(None::<Sleep>);
    poll_fn(|context| {
        if let Poll::Ready(output) = work.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        if let Some(limit) = limit.take() {
            timer.set(Some(sleep(limit())));
        }
        let ends = timer.as_mut().as_pin_mut().map(|timer| timer.poll(context));
        ends.map_or(Poll::Pending, |ends| ends.map(|()| Err(Elapsed)))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::{Elapsed, within};
    use std::{future, time::Duration};
    use tokio::time::sleep;

    const LIMIT: Duration = Duration::from_millis(50);

    #[tokio::test(start_paused = true)]
    async fn what_is_ready_needs_no_time_and_no_timer() {
        assert_eq!(within(Duration::ZERO, async { 7 }).await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_in_time_is_given_and_what_does_not_is_given_up() {
        let late = |time| async move {
            sleep(time).await;
            7
        };
        assert_eq!(within(LIMIT, late(LIMIT / 2)).await, Ok(7));
        assert_eq!(within(LIMIT, late(2 * LIMIT)).await, Err(Elapsed));
        assert_eq!(within(LIMIT, future::pending::<()>()).await, Err(Elapsed));
    }

    #[test]
    fn what_is_ready_needs_no_runtime() {
        let output = futures_util::FutureExt::now_or_never(within(LIMIT, async { 7 }));
        assert_eq!(output, Some(Ok(7)), "a timer would have asked for one");
    }
}
