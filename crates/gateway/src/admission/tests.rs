use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use tokio::time::{Instant, sleep};

use super::{
    Admission, Permit, Refused,
    queue::{EnqueueResult, Queue},
};
use configuration::admission::AdmissionConfig;
use domain::ids::OrganizationId;

fn limits(max_in_flight: usize, per_organization: usize, queue_length: usize) -> AdmissionConfig {
    AdmissionConfig {
        max_in_flight,
        max_in_flight_per_organization: per_organization,
        queue_length,
        queue_timeout: Duration::from_secs(1),
        memory_bytes: 1 << 20,
    }
}

fn organization(number: u128) -> OrganizationId {
    OrganizationId(uuid::Uuid::from_u128(number))
}

async fn admitted(admission: &Admission, number: u128) -> Permit {
    admission.admit(organization(number)).await.ok().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_given_back_goes_to_who_waits() {
    let admission = Admission::new(&limits(1, 1, 10));
    let first = admitted(&admission, 1).await;
    let waiting = {
        let admission = admission.clone();
        async move { admitted(&admission, 2).await }
    };
    let (second, ()) = tokio::join!(waiting, async move {
        sleep(Duration::from_millis(300)).await;
        drop(first);
    });
    drop(second);
    // All places are back.
    admitted(&admission, 3).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_allowed_and_the_reason_is_told() {
    let admission = Admission::new(&limits(2, 1, 10));
    let _first = admitted(&admission, 1).await;
    let asked = Instant::now();
    let refused = admission.admit(organization(1)).await.err().unwrap();
    assert!(matches!(refused, Refused::Organization { .. }), "{refused:?}");
    assert_eq!(asked.elapsed().as_secs(), 1);
    let _second = admitted(&admission, 2).await;
    let refused = admission.admit(organization(3)).await.err().unwrap();
    assert!(matches!(refused, Refused::Process { .. }), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_queue_leaves_no_hole() {
    let admission = Admission::new(&limits(1, 1, 1));
    let first = admitted(&admission, 1).await;
    {
        let leaving = std::pin::pin!(admission.admit(organization(2)));
        assert!(tokio::time::timeout(Duration::from_millis(10), leaving).await.is_err());
    }
    // The one place in the queue is free again, and the place in flight goes to the one who stayed.
    let staying = admission.admit(organization(3));
    let (stayed, ()) = tokio::join!(staying, async {
        sleep(Duration::from_millis(10)).await;
        drop(first);
    });
    assert!(stayed.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_one_does_not_starve_another() {
    let admission = Admission::new(&limits(4, 4, 40));
    let (mut served_flood, mut served_other) = (0, 0);
    let flood = async {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..400 {
            let admission = admission.clone();
            calls.spawn(async move {
                if let Ok(_permit) = admission.admit(organization(1)).await {
                    sleep(Duration::from_millis(20)).await;
                    return 1;
                }
                0
            });
            sleep(Duration::from_millis(1)).await;
        }
        while let Some(served) = calls.join_next().await {
            served_flood += served.unwrap();
        }
    };
    let other = async {
        for _ in 0..20 {
            let asked = Instant::now();
            let permit = admission.admit(organization(2)).await;
            // Behind at most one of the flood's calls for each place, whatever the flood's queue.
            assert!(
                asked.elapsed() < Duration::from_millis(60),
                "waited {:?}",
                asked.elapsed()
            );
            served_other += i32::from(permit.is_ok());
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::join!(flood, other);
    assert_eq!(served_other, 20);
    assert!(served_flood > 20, "{served_flood}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_could_not_be_served_in_time_is_told_at_once() {
    let admission = Admission::new(&limits(1, 1, 1_000));
    for _ in 0..20 {
        let permit = admitted(&admission, 1).await;
        sleep(Duration::from_millis(400)).await;
        permit.end(Instant::now());
        // One that no provider was reached for, and that says nothing of how long calls take.
        drop(admitted(&admission, 1).await);
    }
    let _held = admitted(&admission, 1).await;
    let admission = Arc::new(admission);
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let admission = Arc::clone(&admission);
        waiting.spawn(async move { admission.admit(organization(1)).await.is_ok() });
    }
    sleep(Duration::from_millis(1)).await;
    let asked = Instant::now();
    let refused = admission.admit(organization(1)).await.err().unwrap();
    assert!(
        asked.elapsed() < Duration::from_millis(5),
        "it waited {:?}",
        asked.elapsed()
    );
    assert!(matches!(refused, Refused::Organization { retry_after } if retry_after >= Duration::from_secs(1)));
}

#[test]
fn a_full_queue_makes_room_for_who_waits_with_less() {
    let mut queue = Queue::new(&limits(1, 1, 3));
    assert!(matches!(
        queue.enqueue(organization(1), || ('a', ())),
        EnqueueResult::Admitted
    ));
    for call in ['b', 'c', 'd'] {
        assert!(matches!(
            queue.enqueue(organization(1), || (call, ())),
            EnqueueResult::Waiting { displaced: None, .. }
        ));
    }
    let EnqueueResult::Waiting {
        displaced: Some((call, _)),
        ..
    } = queue.enqueue(organization(2), || ('x', ()))
    else {
        panic!("no room was made");
    };
    assert_eq!(call, 'd');
    assert!(matches!(
        queue.enqueue(organization(1), || ('e', ())),
        EnqueueResult::Refused(_)
    ));
    queue.release(organization(1), Some(Duration::ZERO));
    assert_eq!(queue.next().map(|(_, call)| call), Some('b'));
    queue.release(organization(1), Some(Duration::ZERO));
    assert_eq!(queue.next().map(|(_, call)| call), Some('x'), "turns alternate");
}

#[derive(Debug, Clone)]
enum Step {
    Enter(u16),
    Release(u16),
    Leave(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0_u8..3, 0_u16..4).prop_map(|(what, who)| match what {
        0 => Step::Enter(who),
        1 => Step::Release(who),
        _ => Step::Leave(who),
    });
    prop::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn the_books_balance(steps in steps(), max in 1_usize..6, own in 1_usize..6, length in 0_usize..6) {
        let mut queue = Queue::new(&limits(max, own.min(max), length));
        let mut running: Vec<u16> = Vec::new();
        let mut waiting: Vec<(u16, u64)> = Vec::new();
        for step in steps {
            match step {
                Step::Enter(who) => match queue.enqueue(organization(who.into()), || (who, ())) {
                    EnqueueResult::Admitted => running.push(who),
                    EnqueueResult::Waiting { ticket, displaced, .. } => {
                        if let Some((other, _)) = displaced {
                            let newest = waiting.iter().rposition(|(waits, _)| *waits == other).unwrap();
                            waiting.remove(newest);
                        }
                        waiting.push((who, ticket));
                    }
                    EnqueueResult::Refused(_) => {}
                },
                Step::Release(who) => if let Some(place) = running.iter().position(|runs| *runs == who) {
                    running.remove(place);
                    queue.release(organization(who.into()), Some(Duration::ZERO));
                    if let Some((_, next)) = queue.next() {
                        // First come, first served within an organisation.
                        let oldest = waiting.iter().position(|(waits, _)| *waits == next).unwrap();
                        waiting.remove(oldest);
                        running.push(next);
                    }
                },
                Step::Leave(who) => if let Some(place) = waiting.iter().position(|(waits, _)| *waits == who) {
                    let (_, ticket) = waiting.remove(place);
                    prop_assert!(queue.leave(organization(who.into()), ticket));
                    prop_assert!(!queue.leave(organization(who.into()), ticket));
                },
            }
            prop_assert_eq!(queue.len(), waiting.len());
            prop_assert!(queue.len() <= length);
            prop_assert!(running.len() <= max);
            for who in 0..4 {
                prop_assert!(running.iter().filter(|runs| **runs == who).count() <= own);
            }
            // Nobody waits who could run.
            for (who, _) in &waiting {
                let at_limit = running.iter().filter(|runs| *runs == who).count() >= own.min(max);
                prop_assert!(running.len() == max || at_limit);
            }
        }
    }
}
