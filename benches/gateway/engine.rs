//! Drives load and upstream through one run, and takes the processor's figures around it.

use std::time::{Duration, Instant};

use crate::{
    error::{BenchError, During},
    load::{CONNECTIONS, Load, Tally},
    poll::{Poll, Token},
    upstream::Upstream,
};

/// The kernel wakes a sleeper late by about this much on a virtual machine; the rest of a wait is spun, so that
/// open-loop requests leave on time.
const SPIN: Duration = Duration::from_micros(60);
/// How long answers may still come in after the last request was due.
const DRAIN: Duration = Duration::from_secs(5);

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrivals {
    /// At a fixed rate, whatever the server does; latency counts from the intended time.
    Open { per_second: u32 },
    /// The next request of a connection leaves when its last answer is complete.
    Closed,
}

/// One thread's worth of measuring machinery.
pub(crate) struct Engine {
    poll: Poll,
    upstream: Upstream,
    tokens: Vec<Token>,
}

impl Engine {
    pub(crate) fn new(port: u16, gap: Duration) -> Result<Self, BenchError> {
        let poll = Poll::new().during("epoll")?;
        let upstream = Upstream::bind(&poll, port, gap).during("binding the mock upstream")?;
        Ok(Self {
            poll,
            upstream,
            tokens: Vec::new(),
        })
    }

    pub(crate) fn poll(&self) -> &Poll {
        &self.poll
    }

    pub(crate) fn upstream_address(&self) -> Result<std::net::SocketAddr, BenchError> {
        self.upstream.address().during("the mock upstream's address")
    }

    /// Serves the mock upstream alone for up to `wait`.
    pub(crate) fn serve(&mut self, wait: Duration) -> Result<(), BenchError> {
        let until = Instant::now() + wait;
        while Instant::now() < until {
            self.turn(until, None)?;
        }
        Ok(())
    }

    /// Sends for `duration`, then waits for the answers.
    pub(crate) fn run(
        &mut self,
        load: &mut Load,
        arrivals: Arrivals,
        duration: Duration,
    ) -> Result<(Tally, Duration), BenchError> {
        let mut tally = Tally::new();
        let start = Instant::now();
        let end = start + duration;
        match arrivals {
            Arrivals::Closed => self.closed(load, end, &mut tally)?,
            Arrivals::Open { per_second } => {
                let interval = Duration::from_secs(1) / per_second;
                self.open(load, start, end, interval, &mut tally)?;
            }
        }
        // In closed loop the tail after `end` drains at full speed, so it counts as time under load.
        let limit = Instant::now() + DRAIN;
        while load.in_flight() > 0 && Instant::now() < limit {
            self.turn(limit, Some((load, &mut tally)))?;
        }
        let elapsed = start.elapsed();
        load.abandon(&self.poll, &mut tally).during("reconnecting")?;
        Ok((tally, elapsed))
    }

    fn closed(&mut self, load: &mut Load, end: Instant, tally: &mut Tally) -> Result<(), BenchError> {
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            for _ in 0..CONNECTIONS - load.in_flight() {
                load.send(&self.poll, now, tally).during("reconnecting")?;
            }
            self.turn(end, Some((load, tally)))?;
        }
    }

    fn open(
        &mut self,
        load: &mut Load,
        start: Instant,
        end: Instant,
        interval: Duration,
        tally: &mut Tally,
    ) -> Result<(), BenchError> {
        let mut next = start;
        loop {
            // With no idle connection the schedule waits, and keeps its intended times: what the wait costs is
            // counted as latency.
            while next < end && next <= Instant::now() && load.has_idle() {
                load.send(&self.poll, next, tally).during("reconnecting")?;
                next += interval;
            }
            if next >= end {
                return Ok(());
            }
            if Instant::now() >= end + DRAIN {
                let unsent = (end - next).as_nanos() / interval.as_nanos();
                tally.errors += u64::try_from(unsent).unwrap_or(u64::MAX);
                return Ok(());
            }
            let until = if load.has_idle() { next } else { end + DRAIN };
            self.turn(until, Some((load, tally)))?;
        }
    }

    /// One pass: waits until something happens or `until`, then serves both sides.
    fn turn(&mut self, until: Instant, mut load: Option<(&mut Load, &mut Tally)>) -> Result<(), BenchError> {
        let due = self.upstream.pump();
        let until = due.map_or(until, |due| due.min(until));
        let wait = until.saturating_duration_since(Instant::now());
        self.poll
            .wait(wait.saturating_sub(SPIN), &mut self.tokens)
            .during("waiting for sockets")?;
        for &token in &self.tokens {
            match token {
                Token::Listener => self.upstream.accept(&self.poll).during("accepting")?,
                Token::Upstream(slot) => self.upstream.ready(slot),
                Token::Load(slot) => {
                    if let Some((load, tally)) = load.as_mut() {
                        load.ready(&self.poll, slot, tally).during("reconnecting")?;
                    }
                }
            }
        }
        Ok(())
    }
}
