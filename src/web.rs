//! Pages for people: server-rendered, with a little script of our own.

pub mod assets;
pub mod figures;
pub mod markdown;
pub mod next;
pub mod views;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use url::Url;

use crate::auth::authenticator::{Authenticator, cookie};
use crypto::secret::{self, SecretKind};
use people::sessions::{DEVICE_TTL, PageSession};

/// Under `/settings` alone, so that the stricter `__Host-` is not to be had.
const INVITATION_COOKIE: &str = "maple_invitation";
const SECURE_INVITATION_COOKIE: &str = "__Secure-maple_invitation";
/// Says that somebody has signed in here before. It stays when they sign out.
const DEVICE_COOKIE: &str = "maple_device";
const SECURE_DEVICE_COOKIE: &str = "__Secure-maple_device";

/// What pages need to know of the site itself. Cheap to clone.
#[derive(Clone)]
pub struct Site {
    public_url: Arc<Url>,
    authenticator: Authenticator,
    /// Whether the cookie is for https only: always, except in development.
    secure: bool,
}

impl Site {
    pub fn new(public_url: &Url, authenticator: Authenticator, secure: bool) -> Self {
        Self {
            public_url: Arc::new(public_url.clone()),
            authenticator,
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
        self.authenticator.csrf_token(headers)
    }

    /// `SameSite=Lax`: links from elsewhere lead in signed in, posts from elsewhere do not.
    pub fn session_cookie(&self, session: &PageSession) -> Option<HeaderValue> {
        self.cookie(
            self.authenticator.session_cookie(),
            &session.cookie,
            "/",
            session.lasts.as_secs(),
        )
    }

    /// Makes the browser forget the cookie.
    pub fn end_cookie(&self) -> Option<HeaderValue> {
        self.cookie(self.authenticator.session_cookie(), "", "/", 0)
    }

    /// Carries an invitation's token from the form that made it to the page that shows it, and no further than this browser:
    /// an address would put it into its history.
    pub fn invitation_cookie(&self, token: &str) -> Option<HeaderValue> {
        self.cookie(self.invitation_cookie_name(), token, "/settings", 60)
    }

    pub fn end_invitation_cookie(&self) -> Option<HeaderValue> {
        self.cookie(self.invitation_cookie_name(), "", "/settings", 0)
    }

    /// The invitation's token that a request carries, if it is one.
    pub fn carried_invitation<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let token = cookie(headers, self.invitation_cookie_name())?;
        secret::digest_of(SecretKind::Invitation, token).map(|_| token)
    }

    fn invitation_cookie_name(&self) -> &'static str {
        if self.secure {
            SECURE_INVITATION_COOKIE
        } else {
            INVITATION_COOKIE
        }
    }

    /// The device's proof that a request carries. It is for the sign-in page alone.
    pub fn device_token<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        cookie(headers, self.device_cookie_name())
    }

    pub fn device_cookie(&self, token: &str) -> Option<HeaderValue> {
        self.cookie(self.device_cookie_name(), token, "/sign-in", DEVICE_TTL.as_secs())
    }

    fn device_cookie_name(&self) -> &'static str {
        if self.secure {
            SECURE_DEVICE_COOKIE
        } else {
            DEVICE_COOKIE
        }
    }

    fn cookie(&self, name: &str, value: &str, path: &str, max_age: u64) -> Option<HeaderValue> {
        let secure = if self.secure { "; Secure" } else { "" };
        let text = format!("{name}={value}; Path={path}; HttpOnly; SameSite=Lax; Max-Age={max_age}{secure}");
        HeaderValue::from_str(&text).ok()
    }
}
