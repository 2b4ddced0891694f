//! Pages for people: server-rendered, with a little script of our own.

pub mod assets;
pub mod markdown;
pub mod views;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use url::Url;

use crate::{
    auth::gate::{Gate, SESSION_COOKIE},
    service::sessions::PageSession,
};

/// What pages need to know of the site itself. Cheap to clone.
#[derive(Clone)]
pub struct Site {
    public_url: Arc<Url>,
    gate: Gate,
    /// Whether the cookie is for https only: always, except in development.
    secure: bool,
}

impl Site {
    pub fn new(public_url: &Url, gate: Gate, secure: bool) -> Self {
        Self {
            public_url: Arc::new(public_url.clone()),
            gate,
            secure,
        }
    }

    /// Without a slash at the end.
    pub fn base_url(&self) -> String {
        self.public_url.as_str().trim_end_matches('/').to_owned()
    }

    /// Where an invitation is accepted.
    pub fn invitation_url(&self, token: &str) -> String {
        let mut url = (*self.public_url).clone();
        url.set_path(&format!("/invite/{token}"));
        url.into()
    }

    /// The anti-forgery token of the page that answers a request with these headers.
    pub fn csrf_token(&self, headers: &HeaderMap) -> String {
        self.gate.csrf_token(headers)
    }

    /// `SameSite=Lax`: links from elsewhere lead in signed in, posts from elsewhere do not.
    pub fn session_cookie(&self, session: &PageSession) -> Option<HeaderValue> {
        self.cookie(&session.cookie, session.lasts.as_secs())
    }

    /// Makes the browser forget the cookie.
    pub fn end_cookie(&self) -> Option<HeaderValue> {
        self.cookie("", 0)
    }

    fn cookie(&self, value: &str, max_age: u64) -> Option<HeaderValue> {
        let secure = if self.secure { "; Secure" } else { "" };
        let text = format!("{SESSION_COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age}{secure}");
        HeaderValue::from_str(&text).ok()
    }
}
