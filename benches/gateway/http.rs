//! One blocking HTTP exchange at a time, for setting the gateway up; never on a measured path.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

use crate::error::{BenchError, During};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Sends one request on its own connection and returns the status and the body.
pub(crate) fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    bearer: Option<&str>,
    body: Option<&Value>,
) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let authorization = bearer.map_or(String::new(), |token| format!("authorization: Bearer {token}\r\n"));
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{authorization}\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let status = answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
    let status = status.and_then(|digits| digits.parse().ok()).unwrap_or(0);
    let start = memchr::memmem::find(&answer, b"\r\n\r\n").map_or(answer.len(), |end| end + 4);
    Ok((status, answer.split_off(start)))
}

/// A call of the gateway's API that must succeed.
pub(crate) fn call(
    address: SocketAddr,
    what: &'static str,
    (method, path): (&str, &str),
    bearer: Option<&str>,
    body: Option<&Value>,
) -> Result<Value, BenchError> {
    let (status, bytes) = exchange(address, method, path, bearer, body).during(what)?;
    if !(200..300).contains(&status) {
        return Err(BenchError::Refused {
            what,
            status,
            body: String::from_utf8_lossy(&bytes).into_owned(),
        });
    }
    serde_json::from_slice(&bytes).during(what)
}

/// A string of an answer.
pub(crate) fn text(value: &Value, what: &'static str, field: &'static str) -> Result<String, BenchError> {
    let found = value.get(field).and_then(Value::as_str);
    found.map(str::to_owned).ok_or(BenchError::Incomplete { what, field })
}
