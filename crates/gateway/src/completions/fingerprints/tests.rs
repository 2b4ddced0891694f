use llm::openai::request::Request;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::HeaderValue;

use super::{FingerprintCache, MAX_BODY_BYTES};
use crate::{
    completions::{
        CacheDirectives, Call, Principal,
        cache_policy::{AnswerSharing, CachePolicy},
    },
    live_calls::Credential,
};
use cache::{Class, Key, key::KeyBuilder};
use configuration::{AnswerCaching, ModelConfig, ModelKind, ProviderConfig, ProviderKind};
use domain::ids::{ApiKeyId, OrganizationId, SessionId, UserId};
use llm::Endpoint;
use provider::{Registry, registry::Route};

const BODY: &str = r#"{"model": "maple", "temperature": 0, "messages": []}"#;

fn route() -> Route {
    let provider = ProviderConfig::new(ProviderKind::Mock);
    let model = ModelConfig {
        id: "maple".to_owned(),
        provider: "mock".to_owned(),
        kind: ModelKind::Chat,
        upstream: None,
        name: None,
        input_price: None,
        cached_input_price: None,
        output_price: None,
        cache: None,
    };
    let providers = BTreeMap::from([("mock".to_owned(), provider)]);
    let registry = Registry::build(&providers, &[model], AnswerCaching::All).unwrap();
    registry.route("maple").unwrap().clone()
}

fn call() -> Call {
    Call {
        endpoint: Endpoint::ChatCompletions,
        principal: Principal {
            organization: OrganizationId::generate(),
            user: UserId::generate(),
            api_key: None,
            credential: Credential::Session(SessionId::generate()),
            until: None,
        },
        body: Bytes::from_static(BODY.as_bytes()),
        traceparent: None,
        arrived: Instant::now(),
        cache_directives: CacheDirectives::default(),
    }
}

fn key(call: &Call) -> Key {
    KeyBuilder::new(Class::Answer, 1, call.principal.organization.into()).build()
}

fn keep(fingerprints: &FingerprintCache, call: &Call, route: &Route) {
    let request = Request::read(&call.body, call.endpoint).unwrap();
    let settings = KeyBuilder::new(Class::Organization, 1, call.principal.organization.into()).build();
    let policy = CachePolicy {
        key: key(call),
        shares: AnswerSharing {
            settings,
            is_shared: false,
        },
        reload: false,
        max_age: None,
    };
    fingerprints.keep(call, &request, route, &policy);
}

#[test]
fn a_call_is_recognised_whichever_key_of_its_person_makes_it() {
    let (fingerprints, first, route) = (FingerprintCache::new([1; 16]), call(), route());
    assert!(fingerprints.find(&first).is_none());
    keep(&fingerprints, &first, &route);
    let again = Call {
        principal: Principal {
            api_key: Some(ApiKeyId::generate()),
            ..first.principal
        },
        traceparent: Some(HeaderValue::from_static("00-1-2-3")),
        ..first.clone()
    };
    let reading = fingerprints.find(&again).unwrap();
    assert_eq!((reading.key, &*reading.model), (key(&first), "maple"));
    let request = Request::read(BODY.as_bytes(), first.endpoint).unwrap();
    assert_eq!(reading.form, request.form(first.endpoint));
}

#[test]
fn another_person_organisation_endpoint_byte_or_wish_makes_another_call() {
    let (fingerprints, first, route) = (FingerprintCache::new([1; 16]), call(), route());
    keep(&fingerprints, &first, &route);
    let other = |change: &dyn Fn(&mut Call)| {
        let mut other = first.clone();
        change(&mut other);
        fingerprints.find(&other).is_some()
    };
    assert!(other(&|_| {}));
    assert!(!other(&|call| call.principal.organization = OrganizationId::generate()));
    assert!(!other(&|call| call.principal.user = UserId::generate()));
    assert!(!other(&|call| call.endpoint = Endpoint::Embeddings));
    assert!(!other(&|call| call.cache_directives.reload = true));
    assert!(!other(&|call| call.cache_directives.no_store = true));
    assert!(!other(
        &|call| call.cache_directives.max_age = Some(Duration::from_mins(1))
    ));
    for bit in 0..8 * BODY.len() {
        let mut body = BODY.as_bytes().to_vec();
        body[bit / 8] ^= 1 << (bit % 8);
        assert!(!other(&|call| call.body = body.clone().into()), "bit {bit}");
    }
    assert!(!other(&|call| call.body = format!("{BODY} ").into()));
}

#[test]
fn what_is_asked_of_caches_or_is_long_is_read_each_time() {
    let (fingerprints, route) = (FingerprintCache::new([1; 16]), route());
    let asks = Call {
        cache_directives: CacheDirectives {
            max_age: Some(Duration::ZERO),
            ..CacheDirectives::default()
        },
        ..call()
    };
    let padded = |length: usize| Call {
        body: format!("{BODY}{}", " ".repeat(length - BODY.len())).into(),
        ..call()
    };
    for (call, is_kept) in [
        (asks, false),
        (padded(MAX_BODY_BYTES), true),
        (padded(MAX_BODY_BYTES + 1), false),
    ] {
        keep(&fingerprints, &call, &route);
        assert_eq!(fingerprints.find(&call).is_some(), is_kept, "{} bytes", call.body.len());
    }
}

#[test]
fn a_model_that_another_has_taken_the_place_of_is_not_taken_for_it() {
    let (fingerprints, call, before) = (FingerprintCache::new([1; 16]), call(), route());
    keep(&fingerprints, &call, &before);
    let reading = fingerprints.find(&call).unwrap();
    assert!(reading.is_of(&before));
    let after = route();
    assert!(!reading.is_of(&after));
    let Route { model, .. } = after;
    assert!(!reading.is_of(&Route { model, ..before }));
}
