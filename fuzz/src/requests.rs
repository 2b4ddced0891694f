//! Bodies of callers: what goes on to a provider is JSON, names the provider's model, and is otherwise what the caller wrote.

use std::collections::BTreeMap;

use bytes::Bytes;
use llm::{
    Endpoint,
    canonical::canonical,
    inbound::openai::{Members, RequestView, without_added_usage},
};
use serde_json::{Value, value::RawValue};

const UPSTREAM: &str = "upstream-\"model\"";

type Texts<'a> = BTreeMap<String, &'a RawValue>;

pub fn check(data: &[u8]) {
    converted(data);
    let body = Bytes::copy_from_slice(data);
    for endpoint in [Endpoint::ChatCompletions, Endpoint::Embeddings] {
        if let Ok(view) = RequestView::read(&body, endpoint) {
            sent_on(&view, &body, endpoint);
            keyed(&view, data);
        }
    }
}

fn sent_on(view: &RequestView<'_>, body: &Bytes, endpoint: Endpoint) {
    let add_usage = view.form.streamed && !view.form.include_usage;
    let sent = view.for_upstream(body, UPSTREAM, add_usage);
    let again = RequestView::read(&sent, endpoint).expect("what is sent on is accepted");
    assert_eq!(again.model, UPSTREAM);
    assert_eq!(again.form.streamed, view.form.streamed);
    assert!(!add_usage || again.form.include_usage);
    assert_eq!((again.repeatable, again.choices), (view.repeatable, view.choices));

    let texts = |body| {
        let mut members: Texts<'_> = serde_json::from_slice(body).expect("an object");
        members.remove("model");
        members.remove("stream_options");
        let texts = members.into_iter().map(|(name, value)| (name, value.get().to_owned()));
        texts.collect::<Vec<_>>()
    };
    assert_eq!(texts(&sent), texts(body));
    let outgoing = view.outgoing(body, UPSTREAM, true);
    assert_eq!(outgoing.body, sent);
    if outgoing.has_added_usage {
        assert_eq!(without_added_usage(&sent), view.for_upstream(body, UPSTREAM, false));
    }
}

/// As a vendor with another API reads it.
fn converted(data: &[u8]) {
    let Ok(members) = Members::read(data) else { return };
    assert!(members.names().all(|name| name.len() <= data.len()));
    for message in members.messages().into_iter().flatten() {
        assert!(message.text().map_or(0, |text| text.len()) <= data.len());
    }
    let _ = (members.get::<String>("model"), members.get::<f64>("temperature"));
}

/// The cache's key is made of a text that means what the body does.
fn keyed(view: &RequestView<'_>, data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let Some(text) = view.members.as_ref().and_then(|members| canonical(members, &[])) else {
        return;
    };
    let text = String::from_utf8(text).expect("valid UTF-8 stays so");
    let again = serde_json::from_str::<Value>(&format!("{{{}}}", text.trim_end_matches(',')));
    assert_eq!(again.ok(), Some(value), "{text}");
}
