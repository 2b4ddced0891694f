//! The gate before every route.

mod sent;

use std::{net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use axum::{body::Body, extract::Request};
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use secrecy::{ExposeSecret, SecretString};

use super::{
    Caller,
    access::Access,
    csrf::{CSRF_FIELD, CSRF_HEADER, is_cross_site},
};
use crate::api_error::ApiError;
use crypto::{
    csrf::CsrfSigner,
    secret::{self, SecretKind},
};
use domain::account::SessionOwner;
use people::{
    api_keys::ApiKeys,
    sessions::{SessionError, Sessions},
};

use sent::{bearer, cookies, keep_only};
pub use sent::{cookie, is_by_key, is_by_token};

/// The page's session cookie in development, where there may be no https.
pub const SESSION_COOKIE: &str = "maple_session";
/// The same elsewhere. A browser takes a cookie of such a name from this very host only, with `Secure` and for all paths
/// (RFC 6265bis 4.1.3.2): no sibling domain can put another one in its place. The bare name is not read there, since anybody's
/// could be planted under it.
pub const HOST_SESSION_COOKIE: &str = "__Host-maple_session";
/// Cookies of the name that are tried, where a browser sends several: the one that comes first may have been planted.
const MAX_COOKIES_TRIED: usize = 4;
/// Our own forms are small.
const LARGEST_FORM: usize = 64 * 1024;

/// Recognises callers. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator {
    sessions: Sessions,
    api_keys: ApiKeys,
    csrf: Arc<ArcSwap<CsrfSigner>>,
    ops_token: Arc<ArcSwap<Option<SecretString>>>,
    session_cookie: &'static str,
    /// A form has to arrive within this: the gate reads it before any time limit of a route begins.
    form_timeout: Duration,
}

impl Authenticator {
    pub fn new(
        sessions: Sessions,
        api_keys: ApiKeys,
        csrf: CsrfSigner,
        ops_token: Option<SecretString>,
        secure: bool,
        form_timeout: Duration,
    ) -> Self {
        Self {
            session_cookie: if secure { HOST_SESSION_COOKIE } else { SESSION_COOKIE },
            sessions,
            api_keys,
            csrf: Arc::new(ArcSwap::from_pointee(csrf)),
            ops_token: Arc::new(ArcSwap::from_pointee(ops_token)),
            form_timeout,
        }
    }

    /// Goes by these secrets from now on.
    pub fn rotate(&self, csrf: CsrfSigner, ops_token: Option<SecretString>) {
        self.csrf.store(Arc::new(csrf));
        self.ops_token.store(Arc::new(ops_token));
    }

    /// Lets the request of somebody at `from` pass, with its caller attached, or says why not.
    pub async fn admit(&self, access: Access, request: &mut Request, from: IpAddr) -> Result<(), ApiError> {
        let caller = match access {
            Access::Open => return Ok(()),
            Access::OpenForm => {
                return if is_unsafe(request.method()) && is_cross_site(request.headers()) {
                    Err(ApiError::forged())
                } else {
                    Ok(())
                };
            }
            Access::Program => self.program(request.headers(), from).await?,
            // Boxed: the hot path is that of programs, and its future should not carry these.
            Access::Session => Box::pin(self.session(request, from)).await?,
            Access::Page => Box::pin(self.page(request, from)).await?,
            Access::Probe => match self.operator(request.headers()) {
                Ok(operator) => operator,
                Err(_) => return Ok(()),
            },
            Access::Operator => self.operator(request.headers())?,
        };
        request.extensions_mut().insert(caller);
        Ok(())
    }

    /// Recognises a program, or a person with an access token.
    pub async fn program(&self, headers: &HeaderMap, from: IpAddr) -> Result<Caller, ApiError> {
        let token = bearer(headers).ok_or_else(ApiError::unauthenticated)?;
        if token.starts_with(SecretKind::ApiKey.prefix()) {
            Ok(Caller::Key(self.api_keys.authenticate(token, from).await?))
        } else {
            Ok(Caller::Session(
                Box::pin(self.sessions.authenticate_token(token)).await?,
            ))
        }
    }

    async fn session(&self, request: &mut Request, from: IpAddr) -> Result<Caller, ApiError> {
        if let Some(token) = bearer(request.headers()) {
            // A leaked key must not be able to make more keys or read conversations.
            if token.starts_with(SecretKind::ApiKey.prefix()) {
                return Err(ApiError::keys_are_for_v1());
            }
            return Ok(Caller::Session(self.sessions.authenticate_token(token).await?));
        }
        let (cookie, owner) = self.by_cookie(request, from).await?;
        if is_unsafe(request.method()) {
            let token = request
                .headers()
                .get(CSRF_HEADER)
                .and_then(|token| token.to_str().ok())
                .unwrap_or_default();
            if !self.csrf.load().verify(&cookie, token) {
                return Err(ApiError::forged());
            }
        }
        Ok(Caller::Session(owner))
    }

    async fn page(&self, request: &mut Request, from: IpAddr) -> Result<Caller, ApiError> {
        let (cookie, owner) = self.by_cookie(request, from).await.map_err(ApiError::or_sign_in)?;
        if is_unsafe(request.method()) {
            let token = tokio::time::timeout(self.form_timeout, form_token(request))
                .await
                .map_err(|_| ApiError::body_timeout())??;
            if is_cross_site(request.headers()) || !self.csrf.load().verify(&cookie, &token) {
                return Err(ApiError::forged());
            }
        }
        Ok(Caller::Session(owner))
    }

    /// Whose session it is, and the cookie that says so, which is the only one of its name that the request goes on with.
    async fn by_cookie(&self, request: &mut Request, from: IpAddr) -> Result<(String, SessionOwner), ApiError> {
        let sent: Vec<String> = cookies(request.headers(), self.session_cookie)
            .take(MAX_COOKIES_TRIED)
            .map(str::to_owned)
            .collect();
        let is_alone = sent.len() == 1;
        for cookie in sent {
            match self.sessions.authenticate_cookie(&cookie, from).await {
                Ok(owner) => {
                    if !is_alone {
                        keep_only(request.headers_mut(), self.session_cookie, &cookie);
                    }
                    return Ok((cookie, owner));
                }
                Err(SessionError::Invalid) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ApiError::unauthenticated())
    }

    pub fn session_cookie(&self) -> &'static str {
        self.session_cookie
    }

    /// Recognises whoever holds the operations token.
    pub fn operator(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let expected = self.ops_token.load();
        let expected = expected.as_ref().as_ref().ok_or_else(ApiError::unauthenticated)?;
        let token = bearer(headers).ok_or_else(ApiError::unauthenticated)?;
        if secret::equal(token, expected.expose_secret()) {
            Ok(Caller::Operator)
        } else {
            Err(ApiError::unauthenticated())
        }
    }

    /// The anti-forgery token for pages shown to the holder of this request's cookie.
    pub fn csrf_token(&self, headers: &HeaderMap) -> String {
        cookie(headers, self.session_cookie)
            .map(|cookie| self.csrf.load().token(cookie))
            .unwrap_or_default()
    }
}

fn is_unsafe(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Reads the form's anti-forgery field and puts the body back for the handler.
async fn form_token(request: &mut Request) -> Result<String, ApiError> {
    let body = std::mem::take(request.body_mut());
    let bytes = http_body_util::Limited::new(body, LARGEST_FORM)
        .collect()
        .await
        .map_err(|_| ApiError::too_large(LARGEST_FORM))?
        .to_bytes();
    let token = url::form_urlencoded::parse(&bytes)
        .find_map(|(key, value)| (key == CSRF_FIELD).then(|| value.into_owned()))
        .unwrap_or_default();
    *request.body_mut() = Body::from(bytes);
    Ok(token)
}
