//! Which proxy a provider is reached through: its own setting, or the variables that curl and other clients read.
//!
//! hyper-util has the rules for hosts, addresses and networks in `NO_PROXY`. Ports, `*.suffix`, and addresses of this machine are added here.

use http::{HeaderValue, Uri, uri::Authority};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

/// In a provider's setting: no proxy, whatever the environment says.
const NONE: &str = "none";

/// The proxy variables of the environment.
#[derive(Debug, Default, Clone)]
pub(super) struct ProxyVariables {
    http: String,
    https: String,
    all: String,
    no: String,
}

impl ProxyVariables {
    /// In capitals or not; of two, the one in capitals holds unless it is empty.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |name: &str| {
            let set = |name: &str| {
                variable(name)
                    .map(|text| text.trim().to_owned())
                    .filter(|text| !text.is_empty())
            };
            set(name).or_else(|| set(&name.to_lowercase())).unwrap_or_default()
        };
        Self {
            http: either("HTTP_PROXY"),
            https: either("HTTPS_PROXY"),
            all: either("ALL_PROXY"),
            no: either("NO_PROXY"),
        }
    }

    fn of_scheme(&self, is_https: bool) -> &str {
        let own = if is_https { &self.https } else { &self.http };
        if own.is_empty() { &self.all } else { own }
    }
}

/// A proxy that is to be used and cannot be: not a URL, or of a kind that is not spoken here, such as SOCKS. Going past it would be
/// worse than an error at start.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnusableProxy;

/// A proxy, and what it is told of who we are.
#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) uri: Uri,
    pub(super) authorization: Option<HeaderValue>,
}

/// The proxy for an origin. A provider's own setting holds for every address.
pub(super) fn proxy_for(
    origin: &Uri,
    setting: Option<&str>,
    variables: &ProxyVariables,
) -> Result<Option<Proxy>, UnusableProxy> {
    match setting {
        Some(NONE) => return Ok(None),
        Some(url) => return usable(Matcher::builder().all(url).build().intercept(origin)).map(Some),
        None => {}
    }
    let is_https = origin.scheme_str() == Some("https");
    let url = variables.of_scheme(is_https);
    let host = origin.host().unwrap_or_default();
    if url.is_empty() || is_loopback(host) {
        return Ok(None);
    }
    let port = origin.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    let exceptions = exceptions(&variables.no, port);
    if Matcher::builder()
        .all("http://any")
        .no(exceptions)
        .build()
        .intercept(origin)
        .is_none()
    {
        return Ok(None);
    }
    usable(Matcher::builder().all(url).build().intercept(origin)).map(Some)
}

fn usable(intercept: Option<Intercept>) -> Result<Proxy, UnusableProxy> {
    let intercept = intercept.ok_or(UnusableProxy)?;
    if !matches!(intercept.uri().scheme_str(), Some("http" | "https")) {
        return Err(UnusableProxy);
    }
    Ok(Proxy {
        uri: intercept.uri().clone(),
        authorization: intercept.basic_auth().cloned(),
    })
}

/// `localhost` with all names below it (RFC 6761 6.3), and loopback addresses.
fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    if let Ok(address) = host.parse::<std::net::IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    let host = host.to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// The entries of `NO_PROXY` that hold for a port, in the form that hyper-util knows: without ports, brackets and asterisks. Commas separate
/// them, or spaces, as curl allows.
fn exceptions(no: &str, port: u16) -> String {
    let entries = no.split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
    let for_port = entries.filter_map(|entry| {
        let host = match entry.parse::<Authority>() {
            // An address of IPv6 without brackets is no authority, and a network is none either.
            Ok(authority) if authority.port_u16().is_some() => {
                (authority.port_u16() == Some(port)).then(|| authority.host().to_owned())?
            }
            _ => entry.to_owned(),
        };
        Some(without_asterisk(host.trim_matches(['[', ']'])))
    });
    for_port.collect::<Vec<_>>().join(",")
}

/// `*.example.com` is `.example.com`, and `10.1.*` is `10.1.0.0/16`.
fn without_asterisk(host: &str) -> String {
    if let Some(suffix) = host.strip_prefix('*').filter(|suffix| suffix.starts_with('.')) {
        return suffix.to_owned();
    }
    let Some(prefix) = host.strip_suffix(".*") else {
        return host.to_owned();
    };
    let count = prefix.trim_end_matches(".*").split('.').count();
    let octets: Vec<&str> = prefix
        .trim_end_matches(".*")
        .split('.')
        .chain(["0", "0", "0"])
        .take(4)
        .collect();
    format!("{}/{}", octets.join("."), 8 * count)
}

#[cfg(test)]
mod tests;
