use super::{Origin, Throttle, ThrottleRules};
use cache::counts::SharedCounts;
use crypto::device::Device;
use std::{net::IpAddr, time::Duration};
use tokio::time::Instant;

fn throttle(per_account: u32, per_address: u32) -> Throttle {
    let rules = ThrottleRules {
        per_account,
        per_address,
        window: Duration::from_mins(15),
        sign_ins: 1_000,
    };
    Throttle::new(rules, SharedCounts::new(None))
}

fn at(address: &str) -> Origin {
    address.parse::<IpAddr>().unwrap().into()
}

fn device(id: u8) -> Device {
    Device {
        id: [id; 16],
        user: [7; 16],
    }
}

#[tokio::test]
async fn guesses_are_counted_where_they_come_from() {
    let throttle = throttle(2, 4);
    let (here, there) = (at("192.0.2.1"), at("192.0.2.2"));
    throttle.attempt("a", here).await.unwrap().refund().await;
    throttle.attempt("a", here).await.unwrap();
    throttle.attempt("a", here).await.unwrap();
    let refused = throttle.attempt("a", here).await.err().unwrap();
    assert!(refused.retry_after > Duration::from_secs(25), "{refused:?}");
    assert!(throttle.attempt("a", there).await.is_ok(), "the owner is elsewhere");
    throttle.attempt("b", here).await.unwrap();
    throttle.attempt("b", here).await.unwrap();
    assert!(
        throttle.attempt("c", here).await.is_err(),
        "the address has used up its four"
    );
}

#[tokio::test]
async fn a_known_device_is_counted_by_itself() {
    let throttle = throttle(2, 100);
    let here = at("192.0.2.1");
    let device = Origin {
        device: Some(device(1)),
        ..here
    };
    while throttle.attempt("a", here).await.is_ok() {}
    assert!(throttle.attempt("a", device).await.is_ok());
    assert!(throttle.attempt("a", device).await.is_ok());
    assert!(throttle.attempt("a", device).await.is_err(), "its own guesses count");
}

/// Each sign-in makes another device: whoever knew a password, or shares the address, could collect them.
#[tokio::test(start_paused = true)]
async fn many_known_devices_of_one_person_are_worth_ten() {
    let throttle = throttle(2, 30);
    let mut passed = 0;
    for id in 0..200 {
        let origin = Origin {
            device: Some(device(id)),
            ..at("192.0.2.1")
        };
        while let Ok(attempt) = throttle.attempt("a", origin).await
            && attempt.device().is_some()
        {
            passed += 1;
        }
    }
    assert_eq!(passed, 20);
    assert!(throttle.attempt("b", at("192.0.2.2")).await.is_ok());
}

#[tokio::test]
async fn wider_ipv6_networks_have_limits_of_their_own() {
    let throttle = throttle(100, 2);
    let mut passed = 0;
    for subnet in 0..40 {
        for _ in 0..3 {
            let origin = at(&format!("2001:db8:0:{subnet:x}::1"));
            passed += u32::from(throttle.attempt(&format!("a{subnet}"), origin).await.is_ok());
        }
    }
    // Two for a /64, four for its /56; the forty are in one /56.
    assert_eq!(passed, 4);
    for subnet in [0x100, 0x200, 0x300, 0x400, 0x500] {
        let origin = at(&format!("2001:db8:0:{subnet:x}::1"));
        passed += u32::from(throttle.attempt("b", origin).await.is_ok());
    }
    assert_eq!(passed, 8, "eight for the /48");
    assert!(throttle.attempt("c", at("2001:db8:1::1")).await.is_ok());
}

/// Guesses from everywhere at one account make attempts from places that nobody knows slow, and refuse nobody.
#[tokio::test(start_paused = true)]
async fn an_account_under_attack_is_slow_for_strangers_and_as_ever_for_its_devices() {
    let throttle = throttle(2, 100);
    for guess in 0..20 {
        throttle.attempt("a", at(&format!("198.51.100.{guess}"))).await.unwrap();
    }
    let before = Instant::now();
    let device = Origin {
        device: Some(device(1)),
        ..at("192.0.2.1")
    };
    throttle.attempt("a", device).await.unwrap();
    assert_eq!(before.elapsed(), Duration::ZERO);
    throttle.attempt("a", at("192.0.2.1")).await.unwrap();
    assert_eq!(before.elapsed(), Duration::from_millis(500));
    for guess in 0..60 {
        throttle.attempt("a", at(&format!("203.0.113.{guess}"))).await.unwrap();
    }
    let before = Instant::now();
    throttle.attempt("a", at("192.0.2.3")).await.unwrap();
    assert_eq!(before.elapsed(), Duration::from_secs(4));
    throttle.attempt("b", at("192.0.2.3")).await.unwrap();
    assert_eq!(
        before.elapsed(),
        Duration::from_secs(4),
        "other accounts are not slower"
    );
}

#[tokio::test]
async fn good_sign_ins_cost_their_network_something_too() {
    let rules = ThrottleRules {
        per_account: 10,
        per_address: 10,
        window: Duration::from_mins(15),
        sign_ins: 3,
    };
    let throttle = Throttle::new(rules, SharedCounts::new(None));
    for number in 0..3 {
        let attempt = throttle.attempt(&format!("a{number}"), at("192.0.2.1")).await.unwrap();
        attempt.refund().await;
    }
    assert!(throttle.attempt("a4", at("192.0.2.1")).await.is_err());
    assert!(throttle.attempt("a4", at("192.0.2.2")).await.is_ok());
}

#[tokio::test]
async fn registrations_are_counted_apart() {
    let throttle = throttle(10, 1);
    let here = "2001:db8::1".parse().unwrap();
    throttle.registration(here).await.unwrap();
    assert!(throttle.registration("2001:db8::2".parse().unwrap()).await.is_err());
    assert!(throttle.attempt("a", here.into()).await.is_ok());
}

/// Attempts that are held up cost a connection each; beyond a number they are told when to come again.
#[tokio::test(start_paused = true)]
async fn only_so_many_are_held_up_at_a_time() {
    let throttle = throttle(1, 1_000);
    for network in 0..20 {
        throttle.attempt("a", at(&format!("192.0.2.{network}"))).await.unwrap();
    }
    let attempts = (0..30).map(|network| throttle.attempt("a", at(&format!("198.51.100.{network}"))));
    let (let_in, refused): (Vec<_>, Vec<_>) = futures_util::future::join_all(attempts)
        .await
        .into_iter()
        .partition(Result::is_ok);
    assert_eq!((let_in.len(), refused.len()), (super::MAX_DELAYED, 10));
    let waits = refused.into_iter().map(|refused| refused.err().unwrap().retry_after);
    assert!(waits.min().unwrap() >= Duration::from_secs(1));
}
