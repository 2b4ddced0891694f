//! The load generator: a fixed set of keep-alive connections, in open or closed loop.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    ops::Range,
    time::{Duration, Instant},
};

use memchr::memmem;

use crate::{
    histogram::Histogram,
    poll::{Poll, Token},
    script::CHUNKS,
    wire::Head,
};

/// Both loops use as many connections; closed loop keeps all of them busy.
pub(crate) const CONNECTIONS: usize = 64;

/// What one run saw.
pub(crate) struct Tally {
    /// From the intended send time to the last byte.
    pub(crate) latency: Histogram,
    /// From the intended send time to the first event; empty when not streamed.
    pub(crate) first_chunk: Histogram,
    /// How late requests left, which is the generator's own doing.
    pub(crate) lateness: Histogram,
    pub(crate) completed: u64,
    /// Wrong status, broken or incomplete answers, and requests never answered.
    pub(crate) errors: u64,
    /// Answers of which the cache had to say what it was meant to.
    pub(crate) as_meant: u64,
    /// Reads that brought answer bytes; divided by `completed` it shows how many chunks were coalesced.
    pub(crate) reads: u64,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            latency: Histogram::new(),
            first_chunk: Histogram::new(),
            lateness: Histogram::new(),
            completed: 0,
            errors: 0,
            as_meant: 0,
            reads: 0,
        }
    }
}

struct Lane {
    stream: TcpStream,
    input: Vec<u8>,
    filled: usize,
    head: Option<Head>,
    /// When the request in flight should have been sent.
    intended: Option<Instant>,
    first_chunk: Option<Instant>,
}

/// The connections to one target, and what is in flight on them.
pub(crate) struct Load {
    target: SocketAddr,
    request: Vec<u8>,
    /// Where the seed stands that makes each request another one.
    seed: Option<Range<usize>>,
    next_seed: u64,
    streamed: bool,
    /// A header line that answers should have; none of a target without a cache.
    meant: Option<&'static [u8]>,
    lanes: Vec<Lane>,
    /// First in, first out, so that every connection is used.
    idle: VecDeque<usize>,
}

impl Load {
    /// `first_seed` must be above every seed that this target has been sent.
    pub(crate) fn connect(
        poll: &Poll,
        target: SocketAddr,
        (request, seed): (Vec<u8>, Option<Range<usize>>),
        streamed: bool,
        meant: Option<&'static [u8]>,
        first_seed: u64,
    ) -> io::Result<Self> {
        let mut lanes = Vec::with_capacity(CONNECTIONS);
        for slot in 0..CONNECTIONS {
            lanes.push(Lane::connect(poll, target, slot)?);
        }
        Ok(Self {
            target,
            request,
            seed,
            next_seed: first_seed,
            streamed,
            meant,
            lanes,
            idle: (0..CONNECTIONS).collect(),
        })
    }

    pub(crate) fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.lanes.len() - self.idle.len()
    }

    /// Sends one request on an idle connection; without one it does nothing.
    pub(crate) fn send(&mut self, poll: &Poll, intended: Instant, tally: &mut Tally) -> io::Result<()> {
        let Some(slot) = self.idle.pop_front() else {
            return Ok(());
        };
        if let Some(place) = self.seed.clone() {
            self.next_seed += 1;
            self.request[place].copy_from_slice(self.next_seed.to_string().as_bytes());
        }
        let lane = &mut self.lanes[slot];
        lane.intended = Some(intended);
        tally.lateness.record(intended.elapsed());
        // Requests are far smaller than an empty send buffer: a partial write means a broken connection.
        match lane.stream.write(&self.request) {
            Ok(sent) if sent == self.request.len() => Ok(()),
            _ => self.fail(poll, slot, tally),
        }
    }

    /// Reads what arrived on a connection, and frees it when its answer is complete.
    pub(crate) fn ready(&mut self, poll: &Poll, slot: usize, tally: &mut Tally) -> io::Result<()> {
        let Some(lane) = self.lanes.get_mut(slot) else {
            return Ok(());
        };
        match lane.advance(self.streamed, self.meant, tally) {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.idle.push_back(slot);
                Ok(())
            }
            Err(_) => self.fail(poll, slot, tally),
        }
    }

    /// Gives up on everything in flight, each an error, so that the next run starts clean.
    pub(crate) fn abandon(&mut self, poll: &Poll, tally: &mut Tally) -> io::Result<()> {
        for slot in 0..self.lanes.len() {
            if self.lanes[slot].intended.is_some() {
                self.fail(poll, slot, tally)?;
            }
        }
        Ok(())
    }

    fn fail(&mut self, poll: &Poll, slot: usize, tally: &mut Tally) -> io::Result<()> {
        let was_busy = self.lanes[slot].intended.is_some();
        self.lanes[slot] = Lane::connect(poll, self.target, slot)?;
        // A server may close an idle connection; only a request lost to it is an error.
        if was_busy {
            tally.errors += 1;
            self.idle.push_back(slot);
        }
        Ok(())
    }
}

impl Lane {
    fn connect(poll: &Poll, target: SocketAddr, slot: usize) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&target, Duration::from_secs(2))?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        poll.watch(&stream, Token::Load(slot))?;
        Ok(Self {
            stream,
            input: vec![0; 32 * 1024],
            filled: 0,
            head: None,
            intended: None,
            first_chunk: None,
        })
    }

    /// Whether an answer was completed.
    fn advance(&mut self, streamed: bool, meant: Option<&[u8]>, tally: &mut Tally) -> io::Result<bool> {
        loop {
            if self.filled == self.input.len() {
                return Err(ErrorKind::OutOfMemory.into());
            }
            match self.stream.read(&mut self.input[self.filled..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
            let Some(intended) = self.intended else {
                return Err(ErrorKind::InvalidData.into());
            };
            tally.reads += 1;
            let drained = self.filled < self.input.len();
            let answer = &self.input[..self.filled];
            self.head = self.head.or_else(|| Head::read(answer));
            if let Some(head) = self.head {
                if streamed && self.first_chunk.is_none() && memmem::find(&answer[head.end..], b"data:").is_some() {
                    self.first_chunk = Some(Instant::now());
                }
                if head.is_complete(answer) {
                    if is_right(answer, head, streamed) {
                        tally.completed += 1;
                        let said = meant.is_none_or(|line| memmem::find(&answer[..head.end], line).is_some());
                        tally.as_meant += u64::from(said);
                        tally.latency.record(intended.elapsed());
                        if let Some(at) = self.first_chunk {
                            tally.first_chunk.record(at.duration_since(intended));
                        }
                    } else {
                        tally.errors += 1;
                    }
                    self.filled = 0;
                    self.head = None;
                    self.intended = None;
                    self.first_chunk = None;
                    return Ok(true);
                }
            }
            if drained {
                return Ok(false);
            }
        }
    }
}

/// A fast wrong answer must not count as a fast answer.
fn is_right(answer: &[u8], head: Head, streamed: bool) -> bool {
    let body = &answer[head.end..];
    answer.starts_with(b"HTTP/1.1 200")
        && if streamed {
            memmem::find_iter(body, br#""delta":"#).count() == CHUNKS && memmem::rfind(body, b"data: [DONE]").is_some()
        } else {
            memmem::find(body, br#""completion_tokens":24"#).is_some()
        }
}
