//! Taking note of whom other processes signed out or gave another role, and what they revoked, from the database: the
//! message that said so may not have come.

use std::time::Duration;

use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use people::{api_keys::ApiKeys, look_back::Pages, sessions::Sessions};

const INTERVAL: Duration = Duration::from_secs(1);

/// Looks far back at first, since a cache that all share may hold what was ended before this process began; after that
/// for what is new.
pub async fn run(sessions: Sessions, keys: ApiKeys, stop: CancellationToken) {
    let pages = Pages::default();
    let (back, far_back) = sessions.look_back();
    let (mut ended_from, mut changed_from, mut revoked_from) = (far_back, far_back, far_back);
    loop {
        ended_from = next(
            sessions.take_note_of_ended(ended_from, pages).await.is_ok(),
            back,
            ended_from,
        );
        changed_from = next(
            sessions.take_note_of_changed(changed_from, pages).await.is_ok(),
            back,
            changed_from,
        );
        revoked_from = next(
            keys.take_note_of_revoked(revoked_from, pages).await.is_ok(),
            back,
            revoked_from,
        );
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// After a failure the next look goes back to before it.
fn next(looked: bool, back: TimeDelta, last: TimeDelta) -> TimeDelta {
    if looked {
        back
    } else {
        last.max(back) + TimeDelta::from_std(INTERVAL).unwrap_or_default()
    }
}
