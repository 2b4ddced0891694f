//! What the head of an answer says of its body (RFC 9110, 14 and 15).

use reqwest::{
    StatusCode,
    blocking::Response,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, LAST_MODIFIED},
};

use super::{super::Model, Origin, WeightsError};

/// Where the body belongs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begins {
    At {
        start: u64,
        total: Option<u64>,
    },
    /// The part does not fit to what the server has.
    Anew,
    /// The part is the whole already.
    Complete,
}

/// What is told of an answer that is no model.
#[derive(Debug)]
pub(super) struct About {
    status: u16,
    kind: String,
    pub(super) tag: Option<String>,
    /// Compressed, though it was asked not to be.
    pub(super) packed: bool,
}

impl About {
    pub(super) fn of(answer: &Response) -> Self {
        let strong = text(answer, &ETAG).filter(|tag| !tag.starts_with("W/"));
        Self {
            status: answer.status().as_u16(),
            kind: text(answer, &CONTENT_TYPE)
                .unwrap_or("unknown")
                .chars()
                .take(100)
                .collect(),
            tag: strong.or_else(|| text(answer, &LAST_MODIFIED)).map(ToOwned::to_owned),
            packed: matches!(text(answer, &CONTENT_ENCODING), Some("gzip" | "x-gzip")),
        }
    }

    pub(super) fn is_page(&self) -> bool {
        self.kind.starts_with("text/html")
    }

    pub(super) fn not_the_model(&self, from: &str, meaning: &'static str) -> WeightsError {
        WeightsError::NotTheModel {
            from: from.to_owned(),
            status: self.status,
            kind: self.kind.clone(),
            meaning,
        }
    }
}

/// Places the body of an answer to a request from byte `have` on.
pub(super) fn read_answer(
    answer: &Response,
    have: u64,
    origin: Option<&Origin>,
    from: &str,
    model: &Model,
) -> Result<Begins, WeightsError> {
    let about = About::of(answer);
    let refused = |meaning| Err(about.not_the_model(from, meaning));
    if let Some(coding) = text(answer, &CONTENT_ENCODING)
        && !about.packed
        && coding != "identity"
    {
        return refused("it is compressed in a way that was not asked for");
    }
    let begins = match answer.status() {
        StatusCode::OK => {
            let length = text(answer, &CONTENT_LENGTH).and_then(|length| length.parse().ok());
            Begins::At {
                start: 0,
                total: length.filter(|_| !about.packed),
            }
        }
        StatusCode::PARTIAL_CONTENT => match text(answer, &CONTENT_RANGE).and_then(range) {
            // Of another version: a server that does not know `If-Range`.
            _ if origin
                .is_some_and(|origin| origin.tag.is_some() && about.tag.is_some() && origin.tag != about.tag) =>
            {
                Begins::Anew
            }
            Some((start, total)) if start <= have && !about.packed => Begins::At { start, total },
            _ => Begins::Anew,
        },
        StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => {
            let total = text(answer, &CONTENT_RANGE)
                .and_then(|range| range.strip_prefix("bytes */"))
                .and_then(|total| total.parse().ok());
            if total == Some(have) {
                Begins::Complete
            } else {
                Begins::Anew
            }
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return refused("it may be had only by who has signed in there");
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => return refused("the file is not there"),
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => return refused("the proxy wants a name and a password"),
        StatusCode::TOO_MANY_REQUESTS => return refused("the server takes no more requests for now"),
        status if status.is_server_error() => return refused("the server has a fault"),
        _ => return refused("that is not what was asked for"),
    };
    match begins {
        Begins::At { total: Some(total), .. } if total > model.max_bytes() => refused("it is longer than the model"),
        begins => Ok(begins),
    }
}

/// Start and total of `bytes 100-199/200`; the total may be `*`.
fn range(value: &str) -> Option<(u64, Option<u64>)> {
    let (span, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = span.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}

fn text<'a>(answer: &'a Response, name: &HeaderName) -> Option<&'a str> {
    answer
        .headers()
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::trim)
}
