//! A program on a port of this machine, which answers each path as a test says.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::Value;

/// No thread outlives its test by more.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub(super) enum FakeResponse {
    Raw(Vec<u8>),
    Silent,
    /// A body that goes on until nobody reads it.
    Endless,
    /// The same, a byte at a time.
    Trickle,
}

impl FakeResponse {
    fn whole(status: u16, headers: &str, body: &str) -> Self {
        let length = body.len();
        let text = format!("HTTP/1.1 {status} Whatever\r\n{headers}content-length: {length}\r\n\r\n{body}");
        Self::Raw(text.into_bytes())
    }

    pub(super) fn json(value: &Value) -> Self {
        Self::whole(200, "content-type: application/json\r\n", &value.to_string())
    }

    pub(super) fn text(body: &str) -> Self {
        Self::whole(200, "content-type: text/plain\r\n", body)
    }

    pub(super) fn html(body: &str) -> Self {
        Self::whole(200, "content-type: text/html\r\n", body)
    }

    pub(super) fn status(status: u16) -> Self {
        Self::whole(status, "", "{}")
    }

    pub(super) fn redirect(location: &str) -> Self {
        Self::whole(302, &format!("location: {location}\r\n"), "")
    }

    fn play(self, stream: &mut TcpStream) -> std::io::Result<()> {
        const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n[";
        match self {
            Self::Raw(bytes) => stream.write_all(&bytes),
            Self::Silent => stream.read(&mut [0]).map(drop),
            Self::Endless => {
                stream.write_all(HEAD)?;
                loop {
                    stream.write_all(&[b' '; 8192])?;
                }
            }
            Self::Trickle => {
                stream.write_all(HEAD)?;
                stream.set_read_timeout(Some(Duration::from_millis(20)))?;
                // Ends when the reader hangs up.
                while !matches!(stream.read(&mut [0]), Ok(0)) {
                    stream.write_all(b" ")?;
                }
                Ok(())
            }
        }
    }
}

pub(super) struct Neighbour {
    pub(super) port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Neighbour {
    pub(super) fn start(answer: impl Fn(&str) -> FakeResponse + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), Arc::clone(&heads));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                thread::spawn(move || serve(stream, &*answer, &seen));
            }
        });
        Self { port, heads }
    }

    /// A port where nobody listens.
    pub(super) fn closed_port() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    }

    /// Request lines and headers, as they came.
    pub(super) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, answer: &dyn Fn(&str) -> FakeResponse, seen: &Mutex<Vec<String>>) {
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.set_write_timeout(Some(TIMEOUT)).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    seen.lock().unwrap().push(head);
    // A reader who has had enough hangs up.
    let _ = answer(&path).play(&mut stream);
}
