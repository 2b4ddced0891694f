//! Which TCP ports of this machine are free, and what answers on the others.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::{
    error::TaskError,
    jobs::{Job, Jobs},
    random,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const SEARCHED: u16 = 500;

fn connect(port: u16) -> Option<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).ok()
}

pub(crate) fn is_free(port: u16) -> bool {
    connect(port).is_none()
}

/// The first free port from this one on.
pub(crate) fn next_free(from: u16) -> Result<u16, TaskError> {
    let end = from.saturating_add(SEARCHED);
    let found = (from..end).find(|port| is_free(*port));
    found.ok_or_else(|| TaskError::Refused(format!("no free port between {from} and {}", end - 1)))
}

/// Below the range that the kernel hands to clients, at a random place, so that parallel runs seldom meet.
pub(crate) fn random_free() -> Result<u16, TaskError> {
    next_free(20000 + random::below(12000)?)
}

/// Whether something listens there within that time; not so once the job has ended.
pub(crate) fn opens(jobs: &Jobs, job: &mut Job, port: u16, limit: Duration) -> Result<bool, TaskError> {
    let deadline = Instant::now() + limit;
    let mut listens = false;
    jobs.until(deadline, || {
        listens = !is_free(port);
        listens || !job.is_running()
    })?;
    Ok(listens)
}

/// How a wait for a server went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    Late,
    Ended,
}

/// Waits until the job answers 200 to /api/ready.
pub(crate) fn ready(jobs: &Jobs, job: &mut Job, port: u16, limit: Duration) -> Result<Readiness, TaskError> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if !job.is_running() {
            return Ok(Readiness::Ended);
        }
        if status(port, "/api/ready") == Some(200) {
            return Ok(Readiness::Ready);
        }
        jobs.pause(Duration::from_millis(200))?;
    }
    Ok(Readiness::Late)
}

/// The status of a GET.
pub(crate) fn status(port: u16, path: &str) -> Option<u16> {
    let mut stream = connect(port)?;
    stream.set_read_timeout(Some(CONNECT_TIMEOUT)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    line.strip_prefix("HTTP/1.1 ")?
        .split(' ')
        .next()?
        .trim_end()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::{is_free, next_free, status};
    use std::{io::Write as _, net::TcpListener, thread};

    #[test]
    fn a_port_is_free_where_nobody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!is_free(port));
        assert!(next_free(port).unwrap() > port);
        drop(listener);
        assert!(is_free(port));
    }

    #[test]
    fn the_status_is_read_from_the_first_line() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            for answer in ["HTTP/1.1 503 Service Unavailable\r\n\r\n", "SSH-2.0\r\n"] {
                listener.accept().unwrap().0.write_all(answer.as_bytes()).unwrap();
            }
        });
        assert_eq!(status(port, "/"), Some(503));
        assert_eq!(status(port, "/"), None);
        server.join().unwrap();
        assert_eq!(status(port, "/"), None);
    }
}
