//! More than can be carried: an upstream that works on so many requests at a time and no more, asked for twice that.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, Router, routing::post};
use serde_json::json;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

use crate::support::{Client, TestApp, accounts::register};

/// Four at a time, 40 ms each: a hundred a second.
const PLACES: usize = 4;
const WORK: Duration = Duration::from_millis(40);
const CAPACITY: f64 = 100.0;
/// Clients hang up after this.
const TIMEOUT: Duration = Duration::from_secs(1);
const LENGTH: Duration = Duration::from_secs(4);

/// As servers of models do, it works on in its order, for those as well who have hung up meanwhile.
async fn upstream() -> SocketAddr {
    let places = Arc::new(Semaphore::new(PLACES));
    let answer = move || {
        let places = Arc::clone(&places);
        async move {
            let work = tokio::spawn(async move {
                let _place = places.acquire_owned().await.unwrap();
                tokio::time::sleep(WORK).await;
            });
            work.await.unwrap();
            Json(
                json!({"id": "1", "object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}),
            )
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/v1/chat/completions", post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

struct Outcome {
    /// Good answers a second.
    goodput: f64,
    refused: usize,
    given_up: usize,
    /// Of the slowest good answer but one in twenty.
    p95: Duration,
    slowest_refusal: Duration,
}

/// Twice what can be carried, at a steady rate, whatever becomes of it.
async fn twice_the_load(program: &Client) -> Outcome {
    let mut calls = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / (2.0 * CAPACITY)));
    let started = Instant::now();
    while started.elapsed() < LENGTH {
        ticks.tick().await;
        let program = program.clone();
        calls.spawn(async move {
            let asked = Instant::now();
            let ask = json!({"model": "maple-chat", "messages": []});
            let answer = tokio::time::timeout(TIMEOUT, program.post("/v1/chat/completions", &ask)).await;
            (answer.map(|answer| answer.status.as_u16()).ok(), asked.elapsed())
        });
    }
    let (mut good, mut refusals, mut given_up) = (Vec::new(), Vec::new(), 0);
    while let Some(call) = calls.join_next().await {
        match call.unwrap() {
            (Some(200), took) => good.push(took),
            (Some(429 | 503), took) => refusals.push(took),
            (Some(other), _) => panic!("answered {other}"),
            (None, _) => given_up += 1,
        }
    }
    good.sort();
    Outcome {
        goodput: good.len() as f64 / LENGTH.as_secs_f64(),
        refused: refusals.len(),
        given_up,
        p95: good.get(good.len() * 95 / 100).copied().unwrap_or_default(),
        slowest_refusal: refusals.into_iter().max().unwrap_or_default(),
    }
}

async fn with_admission(bounded: bool) -> (Outcome, f64) {
    let upstream = upstream().await;
    let app = TestApp::start_with(|config| {
        let provider = config.providers.get_mut("fake").unwrap();
        provider.base_url = Some(format!("http://{upstream}/v1").parse().unwrap());
        let admission = &mut config.admission;
        let most = if bounded { PLACES } else { 100_000 };
        (admission.max_in_flight, admission.max_in_flight_per_organization) = (most, most);
        admission.queue_timeout = Duration::from_millis(300);
    })
    .await;
    let program = register(&app).await.program().await;
    let most = if bounded {
        what_can_be_carried(&program).await
    } else {
        CAPACITY
    };
    (twice_the_load(&program).await, most)
}

/// Answers a second when as many callers as there are places ask one after the other.
async fn what_can_be_carried(program: &Client) -> f64 {
    let started = Instant::now();
    let callers = (0..PLACES).map(|_| async {
        let mut served = 0;
        while started.elapsed() < LENGTH / 2 {
            program
                .post("/v1/chat/completions", &json!({"model": "maple-chat", "messages": []}))
                .await
                .ok(200);
            served += 1;
        }
        served
    });
    let served: u32 = futures_util::future::join_all(callers).await.into_iter().sum();
    f64::from(served) / started.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "ratios of load: make load-check"]
async fn admission_keeps_goodput_and_latency_where_it_would_collapse() {
    let (with, carried) = with_admission(true).await;
    let (without, _) = with_admission(false).await;
    // The contract: goodput above 80 % of what can be carried, admitted requests within the wait that is allowed and the
    // work itself, everybody else told.
    assert!(with.goodput > 0.8 * carried, "goodput {} of {carried}", with.goodput);
    assert!(with.p95 < Duration::from_millis(300) + 4 * WORK, "p95 {:?}", with.p95);
    assert_eq!(with.given_up, 0);
    assert!(with.refused > 200, "{} refused", with.refused);
    assert!(
        with.slowest_refusal < Duration::from_millis(600),
        "{:?}",
        with.slowest_refusal
    );
    // The control: the same load with admission out of the way.
    assert!(
        without.goodput < 0.6 * CAPACITY,
        "goodput {} without admission",
        without.goodput
    );
    assert!(without.given_up > 200, "{} gave up", without.given_up);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "ratios of load: make load-check"]
async fn an_organisation_that_floods_does_not_starve_another() {
    let upstream = upstream().await;
    let app = TestApp::start_with(|config| {
        let provider = config.providers.get_mut("fake").unwrap();
        provider.base_url = Some(format!("http://{upstream}/v1").parse().unwrap());
        config.admission.max_in_flight = PLACES;
        config.admission.max_in_flight_per_organization = PLACES;
        config.admission.queue_timeout = Duration::from_millis(500);
    })
    .await;
    let flooding = register(&app).await.program().await;
    let quiet = register(&app).await.program().await;
    let flood = twice_the_load(&flooding);
    let others = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut served = 0;
        for _ in 0..20 {
            let ask = json!({"model": "maple-chat", "messages": []});
            let asked = Instant::now();
            served += i32::from(quiet.post("/v1/chat/completions", &ask).await.status == 200);
            // Its turn comes with the next place, not behind the flood.
            assert!(
                asked.elapsed() < Duration::from_millis(400),
                "took {:?}",
                asked.elapsed()
            );
            // Probes and metrics are no calls, and pass by the queue.
            let asked = Instant::now();
            for path in ["/api/ready", "/api/health?probe=liveness", "/metrics"] {
                assert_eq!(app.client.get(path).await.status, 200, "{path}");
            }
            assert!(
                asked.elapsed() < Duration::from_millis(400),
                "took {:?}",
                asked.elapsed()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        served
    };
    let (flood, served) = tokio::join!(flood, others);
    assert_eq!(served, 20);
    assert!(flood.refused > 100, "{} refused", flood.refused);
}
