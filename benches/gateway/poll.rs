//! One epoll for both ends: the load generator and the mock upstream run in a single thread.
//!
//! A second thread on the same core would only add context switches, and an async runtime would cost more than
//! the requests do. `epoll_pwait2` is used for its nanosecond timeout, since open-loop arrivals are 0.5 ms apart.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
};

/// Waits longer than this are never asked for, so that a lost wake-up shows as a pause and not as a hang.
const MAX_WAIT: Duration = Duration::from_millis(100);

/// Who an event is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Listener,
    /// A connection accepted by the mock upstream, by slot.
    Upstream(usize),
    /// A connection of the load generator, by slot.
    Load(usize),
}

impl Token {
    fn pack(self) -> u64 {
        match self {
            Self::Listener => 0,
            Self::Upstream(slot) => (slot as u64) << 2 | 1,
            Self::Load(slot) => (slot as u64) << 2 | 2,
        }
    }

    fn unpack(packed: u64) -> Self {
        let slot = usize::try_from(packed >> 2).unwrap_or(usize::MAX);
        match packed & 3 {
            0 => Self::Listener,
            1 => Self::Upstream(slot),
            _ => Self::Load(slot),
        }
    }
}

/// The sockets of interest and the events of the last wait.
pub(crate) struct Poll {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(512),
        })
    }

    /// Edge-triggered in both directions: an owner reads until the socket is empty, and needs no second system
    /// call to be told when a full send buffer has room again.
    pub(crate) fn watch(&self, socket: impl AsFd, token: Token) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, socket, EventData::new_u64(token.pack()), flags)?;
        Ok(())
    }

    /// Level-triggered, so that one accept per event is enough.
    pub(crate) fn watch_listener(&self, socket: impl AsFd) -> io::Result<()> {
        let data = EventData::new_u64(Token::Listener.pack());
        epoll::add(&self.epoll, socket, data, EventFlags::IN)?;
        Ok(())
    }

    /// Moves what happened into `tokens`, waiting at most `timeout`.
    pub(crate) fn wait(&mut self, timeout: Duration, tokens: &mut Vec<Token>) -> io::Result<()> {
        let timeout = timeout.min(MAX_WAIT);
        let limit = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        tokens.clear();
        tokens.extend(self.events.iter().map(|event| Token::unpack(event.data.u64())));
        Ok(())
    }
}
