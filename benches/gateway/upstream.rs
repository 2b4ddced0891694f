//! The mock upstream: answers from precomputed bytes, one write per streamed chunk.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use memchr::memmem;

use crate::{
    poll::{Poll, Token},
    script::Script,
    wire::Head,
};

/// A streamed answer that still has chunks to send.
struct Due {
    at: Instant,
    slot: usize,
    /// Tells a connection from a later one in the same slot.
    serial: u64,
    step: usize,
}

struct Connection {
    stream: TcpStream,
    serial: u64,
    input: Vec<u8>,
    filled: usize,
    /// Bytes a full send buffer did not take; flushed when the socket is writable.
    unsent: Vec<u8>,
    with_usage: bool,
}

/// An OpenAI-compatible server that says the same thing every time.
pub(crate) struct Upstream {
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    due: VecDeque<Due>,
    script: Script,
    /// Pause between two chunks of a stream. With zero, each pass of the loop sends one chunk of every open stream,
    /// so that a proxy sees chunks and not one coalesced answer.
    gap: Duration,
    accepted: u64,
}

impl Upstream {
    pub(crate) fn bind(poll: &Poll, port: u16, gap: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        poll.watch_listener(&listener)?;
        Ok(Self {
            listener,
            connections: Vec::new(),
            due: VecDeque::new(),
            script: Script::new(),
            gap,
            accepted: 0,
        })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    pub(crate) fn accept(&mut self, poll: &Poll) -> io::Result<()> {
        let (stream, _) = match self.listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let free = self.connections.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        poll.watch(&stream, Token::Upstream(slot))?;
        self.accepted += 1;
        self.connections[slot] = Some(Connection {
            stream,
            serial: self.accepted,
            input: vec![0; 16 * 1024],
            filled: 0,
            unsent: Vec::new(),
            with_usage: false,
        });
        Ok(())
    }

    /// Reads what arrived on a connection and answers it.
    pub(crate) fn ready(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        match connection.advance(&self.script) {
            Ok(Progress::Waiting) => {}
            Ok(Progress::Streaming) => self.due.push_back(Due {
                at: Instant::now() + self.gap,
                slot,
                serial: connection.serial,
                step: 1,
            }),
            // Dropping the socket closes it, which is all a peer needs to be told.
            Err(_) => self.connections[slot] = None,
        }
    }

    /// Sends the next chunk of every stream whose pause is over, and says when the next one is due.
    pub(crate) fn pump(&mut self) -> Option<Instant> {
        let now = Instant::now();
        // Entries added on the way belong to the next pass.
        for _ in 0..self.due.len() {
            if self.due.front().is_none_or(|due| due.at > now) {
                break;
            }
            let Some(mut due) = self.due.pop_front() else { break };
            let Some(connection) = self.connections[due.slot].as_mut() else {
                continue;
            };
            if connection.serial != due.serial {
                continue;
            }
            match connection.send_step(&self.script, due.step) {
                Ok(true) => {
                    due.step += 1;
                    due.at = now + self.gap;
                    self.due.push_back(due);
                }
                Ok(false) => {}
                Err(_) => self.connections[due.slot] = None,
            }
        }
        self.due.front().map(|due| due.at)
    }
}

enum Progress {
    Waiting,
    Streaming,
}

impl Connection {
    fn advance(&mut self, script: &Script) -> io::Result<Progress> {
        self.flush()?;
        loop {
            if self.filled == self.input.len() {
                self.input.resize(self.filled * 2, 0);
            }
            match self.stream.read(&mut self.input[self.filled..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Progress::Waiting),
                Err(error) => return Err(error),
            }
            // A read that left room has emptied the socket; more bytes make a new event.
            let drained = self.filled < self.input.len();
            let request = &self.input[..self.filled];
            if let Some(head) = Head::read(request).filter(|head| head.is_complete(request)) {
                return self.answer(head, script);
            }
            if drained {
                return Ok(Progress::Waiting);
            }
        }
    }

    fn answer(&mut self, head: Head, script: &Script) -> io::Result<Progress> {
        let request = &self.input[..self.filled];
        let body = &request[head.end..];
        let asks_models = request.starts_with(b"GET ");
        let streamed =
            memmem::find(body, br#""stream":true"#).is_some() || memmem::find(body, br#""stream": true"#).is_some();
        self.with_usage = streamed && memmem::find(body, b"include_usage").is_some();
        self.filled = 0;
        if streamed {
            self.send(&script.chunks[0])?;
            return Ok(Progress::Streaming);
        }
        self.send(if asks_models {
            &script.models
        } else {
            &script.completion
        })?;
        Ok(Progress::Waiting)
    }

    /// Whether more steps follow this one.
    fn send_step(&mut self, script: &Script, step: usize) -> io::Result<bool> {
        let beyond = step.checked_sub(script.chunks.len());
        match (beyond, self.with_usage) {
            (None, _) => self.send(&script.chunks[step])?,
            (Some(0), true) => self.send(&script.usage)?,
            (Some(_), _) => {
                self.send(&script.done)?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        if self.unsent.is_empty() {
            sent = match self.stream.write(bytes) {
                Ok(sent) => sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
        }
        self.unsent.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
