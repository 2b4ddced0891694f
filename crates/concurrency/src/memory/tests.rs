use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::{Budget, Exhausted, Holder, Reservation, SMALL, StreamReservation, UNCOUNTED};

const MIB: usize = 1 << 20;

fn organization(number: u128) -> Holder {
    Holder::Organization(Uuid::from_u128(number))
}

fn budget() -> Budget {
    Budget::new(16 * MIB, Duration::from_secs(1))
}

/// One that is had without waiting.
fn at_once(budget: &Budget, holder: Holder, bytes: usize) -> Option<Reservation> {
    let mut reservation = budget.of(holder).reserve();
    let had = reservation.grow(bytes).now_or_never()?;
    had.ok().map(|()| reservation)
}

#[tokio::test]
async fn an_organization_leaves_some_for_others_and_a_stranger_has_little() {
    let budget = budget();
    let reservations: Vec<_> = std::iter::from_fn(|| at_once(&budget, organization(1), MIB)).collect();
    assert_eq!(reservations.len(), 12);
    let stranger = Holder::Address("192.0.2.1".parse().unwrap());
    let strangers: Vec<_> = std::iter::from_fn(|| at_once(&budget, stranger, MIB)).collect();
    assert_eq!(strangers.len(), 2);
    let others: Vec<_> = std::iter::from_fn(|| at_once(&budget, organization(2), MIB)).collect();
    assert_eq!(others.len(), 2);
    drop((reservations, strangers, others));
    assert!(budget.0.holders.lock().unwrap().is_empty());
    assert_eq!(budget.0.all.available_permits() * 1024, 16 * MIB);
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_room_waits_and_is_refused_in_the_end() {
    let budget = budget();
    let reservations = at_once(&budget, organization(1), 12 * MIB).unwrap();
    let mut late = budget.of(organization(1)).reserve();
    assert_eq!(late.grow(MIB).await, Err(Exhausted));
    let (outcome, ()) = tokio::join!(late.grow(MIB), async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop(reservations);
    });
    outcome.unwrap();
}

#[tokio::test]
async fn what_grows_is_counted_once_and_given_back_whole() {
    let budget = budget();
    let mut reservation = budget.of(organization(1)).reserve();
    for bytes in [1, 1_000, SMALL, SMALL + 1, MIB, MIB - 1, 3 * MIB] {
        reservation.grow(bytes).await.unwrap();
    }
    assert_eq!(budget.0.all.available_permits() * 1024, 13 * MIB);
    // A growth that is given up changes nothing.
    let other = at_once(&budget, organization(2), 12 * MIB).unwrap();
    assert!(reservation.grow(5 * MIB).now_or_never().is_none());
    assert_eq!(reservation.bytes(), 3 * MIB);
    drop((reservation, other));
    assert_eq!(budget.0.all.available_permits() * 1024, 16 * MIB);
    assert_eq!(budget.0.small.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test]
async fn bytes_are_counted_until_nobody_holds_any_of_them() {
    let budget = budget();
    let reservation = at_once(&budget, organization(1), 2 * MIB).unwrap();
    let whole = reservation.hold(Bytes::from(vec![7; 2 * MIB]));
    let part = whole.slice(5..10);
    drop(whole);
    assert_eq!(budget.0.all.available_permits() * 1024, 14 * MIB);
    assert_eq!(&part[..], [7; 5]);
    drop(part);
    assert_eq!(budget.0.all.available_permits() * 1024, 16 * MIB);
}

#[tokio::test]
async fn what_is_small_is_bounded_together() {
    let budget = budget();
    let small: Vec<_> = std::iter::from_fn(|| at_once(&budget, organization(1), SMALL)).collect();
    assert_eq!(small.len() * SMALL, 4 * MIB);
    assert!(at_once(&budget, organization(1), SMALL + 1).is_some());
    drop(small);
    assert!(at_once(&budget, organization(1), SMALL).is_some());
}

#[tokio::test]
async fn what_is_larger_than_the_share_has_it_alone() {
    let budget = budget();
    let all = at_once(&budget, organization(1), 100 * MIB);
    assert!(all.is_some() && at_once(&budget, organization(1), SMALL + 1).is_none());
}

#[tokio::test]
async fn what_gathers_is_counted_once_it_is_much_and_until_it_is_let_go() {
    let budget = budget();
    let free = || budget.0.all.available_permits() * 1024;
    let mut stream_buffer = StreamReservation::new(Some(budget.of(organization(1))));
    stream_buffer.reserve(UNCOUNTED, 4 * MIB).unwrap();
    assert_eq!((stream_buffer.counted(), free()), (0, 16 * MIB));
    // Twice as much, so that it is seldom grown; at the end no more than is needed.
    stream_buffer.reserve(MIB, 4 * MIB).unwrap();
    assert_eq!((stream_buffer.counted(), free()), (2 * MIB, 14 * MIB));
    stream_buffer.reserve(3 * MIB, 4 * MIB).unwrap();
    assert_eq!((stream_buffer.counted(), free()), (4 * MIB, 12 * MIB));
    // It does not wait, and what it had stays.
    let other = at_once(&budget, organization(1), 8 * MIB).unwrap();
    assert_eq!(stream_buffer.reserve(5 * MIB, 8 * MIB), Err(Exhausted));
    assert_eq!(stream_buffer.counted(), 4 * MIB);
    let passed = stream_buffer.pass(Bytes::from(vec![7; 3 * MIB]));
    assert_eq!((stream_buffer.counted(), free()), (0, 4 * MIB));
    drop(other);
    stream_buffer.reserve(MIB, MIB).unwrap();
    assert_eq!(free(), 11 * MIB);
    drop(passed);
    assert_eq!(free(), 15 * MIB);
    stream_buffer.clear();
    assert_eq!(free(), 16 * MIB);
    assert!(budget.0.holders.lock().unwrap().is_empty());
}
