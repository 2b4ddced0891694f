//! An upstream made of a socket and a script: it can stall, break off and watch the connection close.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// No script waits longer, so that a test that fails ends.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the script for each connection, with the connection's number. Lives until the test process ends.
pub(crate) fn serve(script: impl Fn(usize, &mut Connection) + Send + Sync + 'static) -> SocketAddr {
    watch(script).0
}

/// The same, and the script's findings, each of them once its connection is closed.
pub(crate) fn watch<T: Send + 'static>(
    script: impl Fn(usize, &mut Connection) -> T + Send + Sync + 'static,
) -> (SocketAddr, UnboundedReceiver<T>) {
    let (found, findings) = unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let script = Arc::new(script);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (script, found) = (Arc::clone(&script), found.clone());
            let mut connection = Connection::new(stream.unwrap());
            thread::spawn(move || {
                let finding = script(number, &mut connection);
                drop(connection);
                // A test that has seen enough no longer listens.
                let _ = found.send(finding);
            });
        }
    });
    (address, findings)
}

/// One request as it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// Request line and headers, names in lower case.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Connection(TcpStream);

impl Connection {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        Self(stream)
    }

    /// `None` once the client has closed the connection.
    pub(crate) fn request(&mut self) -> Option<Received> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let head: String = head
            .lines()
            .map(|line| match line.split_once(": ") {
                Some((name, value)) => format!("{}: {value}\n", name.to_lowercase()),
                None => format!("{line}\n"),
            })
            .collect();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        Some(Received { head, body })
    }

    /// Does not mind a client that has gone.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.write_all(bytes.as_ref());
    }

    pub(crate) fn answer(&mut self, status: &str, headers: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        self.send(format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n",
            body.len()
        ));
        self.send(body);
    }

    pub(crate) fn begin_stream(&mut self) {
        self.send(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n",
        );
    }

    pub(crate) fn chunk(&mut self, data: impl AsRef<[u8]>) {
        let data = data.as_ref();
        let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
        chunk.extend_from_slice(data);
        chunk.extend_from_slice(b"\r\n");
        self.send(chunk);
    }

    pub(crate) fn end_stream(&mut self) {
        self.send("0\r\n\r\n");
    }

    /// Whether the client closes the connection within `limit`, having sent nothing more.
    pub(crate) fn closes_within(&mut self, limit: Duration) -> bool {
        self.0.set_read_timeout(Some(limit)).unwrap();
        match self.0.read(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    /// Keeps the connection open and silent until the client goes.
    pub(crate) fn stall(&mut self) {
        while self.0.read(&mut [0; 1024]).is_ok_and(|read| read > 0) {}
    }
}
