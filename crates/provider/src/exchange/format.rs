//! What is a vendor's own in an exchange over HTTP.

use bytes::Bytes;
use http::{HeaderMap, HeaderName};

/// The format of one vendor, without a value: all of it holds for every call.
pub(crate) trait VendorFormat: 'static {
    /// How the keys and ids begin that the vendor's messages quote of us. They are taken out of what callers get.
    const ID_PREFIXES: &'static [&'static [u8]];

    /// Adds to the headers of every request what the vendor wants there: the key, by [`secret`](super::secret), and the version of its API, say. `None` if
    /// the key cannot stand in a header.
    fn add_headers(key: Option<&str>, headers: &mut HeaderMap) -> Option<()>;

    /// Headers of its answers that are meant for the caller, each with the name that it has there: the vendor's id for the call as
    /// `x-upstream-request-id`. All others stay here.
    fn passed_headers() -> &'static [(HeaderName, HeaderName)];

    /// A refusal in OpenAI's form: an object whose `error` has a `message`. `body` begins as JSON, and has none of our secrets.
    fn refusal(body: &[u8]) -> Bytes;

    /// Whether whole events end with the vendor's mark for the end of an answer, after which nothing is waited for.
    fn ends_answer(events: &[u8]) -> bool;
}
