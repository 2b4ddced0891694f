//! Requests for the file: limits, proxies, certificates and redirects.

use std::{
    error::Error as _,
    fs,
    net::IpAddr,
    path::PathBuf,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use reqwest::{
    Certificate, Proxy, StatusCode, Url,
    blocking::{Client, RequestBuilder, Response},
    header::{HeaderMap, LOCATION},
    redirect::Policy,
};

use super::{Limits, WeightsError};

const MAX_REDIRECTS: usize = 5;
const LATE: &str = "no answer in time";

/// What a person set up for another program that fetches, beyond what the environment says.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// PEM files of further authorities.
    pub certificates: Vec<PathBuf>,
    /// A proxy for all addresses but those of this machine.
    pub proxy: Option<String>,
}

/// Two clients: what is on this machine is never asked for through a proxy, whatever the environment says.
#[derive(Debug)]
pub struct Fetcher {
    outside: Client,
    inside: Client,
    answer: Duration,
}

impl Fetcher {
    pub fn new(limits: &Limits, trust: &Trust) -> Result<Self, WeightsError> {
        let base = || {
            Client::builder()
                .user_agent(concat!("mapleai-local-model/", env!("CARGO_PKG_VERSION")))
                // In the blocking client this is a limit for each read, not for the whole.
                .timeout(limits.stall)
                .redirect(Policy::none())
        };
        let mut outside = base();
        for path in &trust.certificates {
            let authorities = fs::read(path)
                .ok()
                .and_then(|pem| Certificate::from_pem_bundle(&pem).ok());
            for authority in authorities.unwrap_or_default() {
                outside = outside.add_root_certificate(authority);
            }
        }
        if let Some(proxy) = trust.proxy.as_deref().and_then(|address| Proxy::all(address).ok()) {
            outside = outside.proxy(proxy);
        }
        let failed = |error: reqwest::Error| WeightsError::Unreachable {
            from: "the network".to_owned(),
            reason: reason_of(&error),
        };
        Ok(Self {
            outside: outside.build().map_err(failed)?,
            inside: base().no_proxy().build().map_err(failed)?,
            answer: limits.answer,
        })
    }

    /// GET with redirects followed: few, to http or https only, and never from https to http.
    pub fn get(&self, url: &Url, headers: &HeaderMap) -> Result<Response, WeightsError> {
        let mut url = url.clone();
        let deadline = Instant::now() + self.answer;
        for _ in 0..=MAX_REDIRECTS {
            let client = if is_loopback(&url) { &self.inside } else { &self.outside };
            let request = client.get(url.clone()).headers(headers.clone());
            let answer = send(request, deadline).map_err(|reason| WeightsError::Unreachable {
                from: label(&url),
                reason,
            })?;
            if !is_redirect(answer.status()) {
                return Ok(answer);
            }
            let to = answer
                .headers()
                .get(LOCATION)
                .and_then(|to| to.to_str().ok())
                .unwrap_or("");
            url = next(&url, to)?;
        }
        Err(WeightsError::Redirect {
            from: label(&url),
            to: label(&url),
            reason: "that is one redirect too many",
        })
    }
}

/// The head of the answer, or why there is none. The client's own limit holds for the body too, which may be slower; what is waited for
/// no longer ends by that limit.
fn send(request: RequestBuilder, deadline: Instant) -> Result<Response, String> {
    let (answer, answered) = mpsc::sync_channel(1);
    thread::spawn(move || drop(answer.send(request.send())));
    match answered.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(answer) => answer.map_err(|error| reason_of(&error)),
        Err(_) => Err(LATE.to_owned()),
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn next(url: &Url, to: &str) -> Result<Url, WeightsError> {
    let refused = |reason| WeightsError::Redirect {
        from: label(url),
        to: to.chars().take(200).collect(),
        reason,
    };
    let next = url.join(to).map_err(|_| refused("that is no address"))?;
    match (url.scheme(), next.scheme()) {
        ("https", "http") => Err(refused("what was asked for under TLS is not fetched without it")),
        (_, "http" | "https") => Ok(next),
        _ => Err(refused("only http and https are followed")),
    }
}

/// Host and port: what a person may know a server by, without a password that the address may hold.
pub fn label(url: &Url) -> String {
    let host = url.host_str().unwrap_or("nowhere");
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url
        .host_str()
        .unwrap_or("")
        .trim_start_matches('[')
        .trim_end_matches(']')
        .trim_end_matches('.');
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The innermost cause, which is the one that says something.
pub(crate) fn reason_of(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return LATE.to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    // What `reqwest` says by itself ends with the address, which may hold a password.
    if error.source().is_none() {
        "the request failed".to_owned()
    } else {
        cause.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(address: &str) -> Url {
        Url::parse(address).unwrap()
    }

    #[test]
    fn a_redirect_never_leaves_tls_or_the_web() {
        let secure = url("https://mirror.example/a/model.gguf");
        assert_eq!(next(&secure, "../b").unwrap().as_str(), "https://mirror.example/b");
        assert_eq!(
            next(&secure, "https://other.example/").unwrap().as_str(),
            "https://other.example/"
        );
        assert!(next(&secure, "http://mirror.example/a/model.gguf").is_err());
        assert!(next(&secure, "file:///etc/passwd").is_err());
        assert!(next(&url("http://mirror.example/"), "https://mirror.example/").is_ok());
    }

    #[test]
    fn loopback_is_known_in_each_of_its_spellings() {
        for near in [
            "http://127.0.0.1/",
            "http://127.8.9.1:80/",
            "http://[::1]:1/",
            "http://LOCALHOST/",
            "http://a.localhost./",
        ] {
            assert!(is_loopback(&url(near)), "{near}");
        }
        for far in ["http://128.0.0.1/", "http://localhost.example/", "http://[::2]/"] {
            assert!(!is_loopback(&url(far)), "{far}");
        }
    }

    #[test]
    fn a_server_is_told_without_the_password_of_its_address() {
        assert_eq!(
            label(&url("https://user:secret@mirror.example:8443/x?token=secret")),
            "mirror.example:8443"
        );
    }
}
