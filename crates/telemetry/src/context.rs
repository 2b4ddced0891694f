//! What a request's log lines have in common: its id, route and caller. Carried by the task that serves the request and
//! put on every line that is logged there, so that a warning in production says whose request it was without a span's
//! cost for each of the many that go well.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use http::{HeaderMap, HeaderName, HeaderValue};

use uuid::Uuid;

tokio::task_local! {
    static CURRENT: Arc<LogContext>;
}

/// What is known of a request while it is served.
#[derive(Debug)]
pub struct LogContext {
    pub request_id: Arc<str>,
    /// Of the caller's trace (W3C Trace Context), 32 hexadecimal digits.
    pub trace_id: Option<Box<str>>,
    /// Where the request comes from, behind the proxies that are trusted. For the audit log; lines name it where it matters.
    pub client: IpAddr,
    pub method: &'static str,
    /// The route's template, never the path, which may hold anything.
    pub route: Arc<str>,
    caller: OnceLock<(Option<Uuid>, Option<Uuid>)>,
}

impl LogContext {
    pub fn new(
        request_id: Arc<str>,
        trace_id: Option<Box<str>>,
        client: IpAddr,
        method: &'static str,
        route: Arc<str>,
    ) -> Self {
        Self {
            request_id,
            trace_id,
            client,
            method,
            route,
            caller: OnceLock::new(),
        }
    }

    /// Who is calling, once that is known. Later calls change nothing.
    pub fn note_caller(&self, organization: Option<Uuid>, user: Option<Uuid>) {
        let _ = self.caller.set((organization, user));
    }

    /// Calls `field` with the name and text of everything known.
    pub(super) fn for_each(&self, mut field: impl FnMut(&'static str, &str)) {
        field("request_id", &self.request_id);
        if let Some(trace_id) = &self.trace_id {
            field("trace_id", trace_id);
        }
        field("method", self.method);
        field("route", &self.route);
        let mut id = [0_u8; uuid::fmt::Hyphenated::LENGTH];
        if let Some((organization, user)) = self.caller.get() {
            if let Some(organization) = organization {
                field("organization_id", organization.as_hyphenated().encode_lower(&mut id));
            }
            if let Some(user) = user {
                field("user_id", user.as_hyphenated().encode_lower(&mut id));
            }
        }
    }
}

/// Runs `work` as part of a request.
pub fn within<F: Future>(context: Arc<LogContext>, work: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(context, work)
}

/// Runs `work` as part of a request, without waiting.
pub fn within_sync<T>(context: Arc<LogContext>, work: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(context, work)
}

/// The request that is being served, for work that goes on after it.
pub fn current() -> Option<Arc<LogContext>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// The organisation of the request that is being served, once its caller is known.
pub fn organization() -> Option<Uuid> {
    CURRENT
        .try_with(|context| context.caller.get().and_then(|(organization, _)| *organization))
        .ok()
        .flatten()
}

pub(super) fn with_current(look: impl FnOnce(&LogContext)) {
    let _ = CURRENT.try_with(|context| look(context));
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Version, trace, parent and flags with their dashes, in bytes.
const TRACEPARENT_LENGTH: usize = 55;

/// The caller's `traceparent`, if there is one and it is valid. Of a version that is not known only what is known of it, as that
/// version's text could hold anything (W3C Trace Context 3.2.3): it goes on to providers.
pub fn traceparent(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut all = headers.get_all(TRACEPARENT).iter();
    let value = all.next().filter(|_| all.next().is_none())?;
    let text = value.to_str().ok()?;
    trace_id(text)?;
    if text.starts_with("00") {
        Some(value.clone())
    } else {
        HeaderValue::from_str(&format!("00{}", &text[2..TRACEPARENT_LENGTH])).ok()
    }
}

/// The trace id of a `traceparent` header (W3C Trace Context 3.2.2), if it is a valid one.
pub fn trace_id(traceparent: &str) -> Option<&str> {
    let mut parts = traceparent.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hexadecimal = |part: &str, length| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let zero = |part: &str| part.bytes().all(|b| b == b'0');
    let valid = hexadecimal(version, 2)
        && version != "ff"
        && hexadecimal(trace, 32)
        && !zero(trace)
        && hexadecimal(parent, 16)
        && !zero(parent)
        && hexadecimal(flags, 2)
        && (version != "00" || parts.next().is_none());
    valid.then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::{trace_id, traceparent};
    use http::HeaderMap;

    #[test]
    fn only_valid_traceparents_have_a_trace_id() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_id(&format!("00-{trace}-00f067aa0ba902b7-01")), Some(trace));
        assert_eq!(trace_id(&format!("cc-{trace}-00f067aa0ba902b7-01-later")), Some(trace));
        for bad in [
            String::new(),
            "00".to_owned(),
            format!("ff-{trace}-00f067aa0ba902b7-01"),
            format!("00-{trace}-00f067aa0ba902b7-01-more"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{trace}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()),
            format!("00-{trace}-00f067aa0ba902b7"),
        ] {
            assert_eq!(trace_id(&bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_passed_on_of_a_traceparent_is_known_to_the_last_byte() {
        let trace_parent = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let read = |values: &[&str]| {
            let values = values.iter().map(|value| (super::TRACEPARENT, value.parse().unwrap()));
            let value = traceparent(&values.collect::<HeaderMap>())?;
            Some(value.to_str().unwrap().to_owned())
        };
        let expected = Some(format!("00-{trace_parent}"));
        assert_eq!(read(&[&format!("00-{trace_parent}")]), expected);
        assert_eq!(read(&[&format!("cc-{trace_parent}")]), expected);
        assert_eq!(read(&[&format!("cc-{trace_parent}-{}", "A".repeat(3_000))]), expected);
        assert_eq!(read(&["no trace; <script>"]), None);
        assert_eq!(read(&[&format!("00-{trace_parent}-more")]), None);
        assert_eq!(read(&[&format!("00-{trace_parent}"), "x"]), None);
        assert_eq!(read(&[]), None);
    }
}
