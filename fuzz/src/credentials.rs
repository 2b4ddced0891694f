//! What a request's head says of its sender (`Authorization`, `Cookie`), and what of it is read without a look-up: nobody makes up a
//! token, a proof of a device, an anti-forgery token or a sealed value.

#[path = "../../src/auth/authenticator/sent.rs"]
mod sent;

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use chrono::DateTime;
use crypto::{
    access_token::AccessTokens,
    csrf::CsrfSigner,
    device::DeviceSigner,
    seal::Sealer,
    secret::{SecretKind, digest_of},
    signing_keys::SigningKeys,
};
use http::{HeaderMap, HeaderValue, header};
use secrecy::SecretString;

const NAME: &str = "maple_session";

struct Ours {
    tokens: AccessTokens,
    csrf: CsrfSigner,
    devices: DeviceSigner,
    sealer: Sealer,
}

static OURS: LazyLock<Ours> = LazyLock::new(|| {
    let secret = [SecretString::from("a-signing-key-of-the-fuzzer-0123456789")];
    let keys = BTreeMap::from([("a".to_owned(), secret[0].clone())]);
    let keys = SigningKeys::new(&keys, "a").expect("a key of that name");
    Ours {
        tokens: AccessTokens::new(&keys, Duration::from_secs(60)),
        csrf: CsrfSigner::new(&secret),
        devices: DeviceSigner::new(&secret),
        sealer: Sealer::new("fuzz", &secret).expect("a key"),
    }
});

pub fn check(data: &[u8]) {
    assert!(OURS.sealer.open(b"here", data).is_err(), "nobody makes up a seal");
    let Some((one, other)) = crate::cut(data) else { return };
    let (Ok(one), Ok(other)) = (HeaderValue::from_bytes(one), HeaderValue::from_bytes(other)) else {
        return;
    };
    let mut headers = HeaderMap::new();
    headers.append(header::AUTHORIZATION, one.clone());
    if let Some(token) = sent::bearer(&headers) {
        assert!(sent::is_by_token(&headers) && !token.is_empty() && token.trim() == token);
        made_up(token);
    }
    let _ = sent::is_by_key(&headers);
    headers.append(header::COOKIE, one);
    headers.append(header::COOKIE, other);
    let found: Vec<String> = sent::cookies(&headers, NAME).map(str::to_owned).collect();
    found.iter().for_each(|value| made_up(value));
    if let Some(kept) = found.first() {
        let others = others(&headers);
        sent::keep_only(&mut headers, NAME, kept);
        assert_eq!(sent::cookies(&headers, NAME).collect::<Vec<_>>(), [kept]);
        assert_eq!(self::others(&headers), others, "other cookies stay");
    }
}

/// Cookies of another name.
fn others(headers: &HeaderMap) -> Vec<Vec<u8>> {
    let pairs = headers.get_all(header::COOKIE).iter();
    let pairs = pairs.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    let own = format!("{NAME}=").into_bytes();
    let others = pairs.map(<[u8]>::trim_ascii).filter(|pair| !pair.starts_with(&own));
    others.map(<[u8]>::to_vec).collect()
}

fn made_up(text: &str) {
    let now = DateTime::from_timestamp(0, 0).expect("a time");
    assert!(OURS.tokens.verify(text, now).is_err(), "nobody makes up a token");
    assert!(!OURS.csrf.verify("ms_x", text), "nor one of a page");
    assert_eq!(OURS.devices.verify("a@b.example", text, 0), None, "nor a proof");
    let kinds = [
        SecretKind::ApiKey,
        SecretKind::RefreshToken,
        SecretKind::Cookie,
        SecretKind::Invitation,
    ];
    let read = kinds.iter().filter(|kind| digest_of(**kind, text).is_some()).count();
    assert!(read <= 1, "a secret is of one kind");
}
