//! Every route, grouped by who may call it.

use std::time::Duration;

use axum::{Extension, Router, extract::DefaultBodyLimit, middleware::from_fn_with_state, routing};
use http::Method;
use utoipa_axum::routes;

use super::{
    accounts, answers, api_keys, audit, caches, conversations, deletion,
    edge::{Edge, edge},
    etag,
    extract::Bounds,
    health, invitations,
    layers::{self, BodyLimit, BodyTimeout},
    models, openai, openapi, organization, pages,
    routes::Routes,
    service::Service,
    sessions, usage,
};
use crate::{api_error::ApiError, auth::access::Access, state::AppState};

/// Largest body, in bytes, of what is neither a call to a model nor a question. Anybody may send one, to registration say,
/// and thousands may be held at once.
const SMALL_BODY: usize = 64 * 1024;

/// How the edge is set up.
pub struct EdgeRules {
    pub request_timeout: Duration,
    pub body_limit: usize,
    pub body_timeout: Duration,
    pub cors_origins: Vec<String>,
    /// Whether `/metrics` is served here, rather than by the operations listener alone.
    pub public_metrics: bool,
    /// Whether anybody may register, and so look at the models on offer beforehand.
    pub open_registration: bool,
}

/// The table and document, before there is any state.
pub fn routes(rules: &EdgeRules) -> Routes {
    let short = Routes::new(openapi::base())
        .api(Access::Open, routes!(sessions::register))
        .api(Access::Open, routes!(sessions::login))
        .api(Access::Open, routes!(sessions::refresh))
        .api(Access::Open, routes!(invitations::accept))
        .api(
            if rules.open_registration {
                Access::Open
            } else {
                Access::Session
            },
            routes!(models::list),
        )
        .api(Access::Open, routes!(openapi::document))
        .api(Access::Probe, routes!(health::health))
        .api(Access::Open, routes!(health::ready))
        .api(Access::Session, routes!(sessions::logout))
        .api(Access::Session, routes!(sessions::confirm))
        .api(
            Access::Session,
            routes!(accounts::me, accounts::change_me, deletion::leave),
        )
        .api(Access::Session, routes!(accounts::list))
        .api(Access::Session, routes!(accounts::set_role, accounts::remove))
        .api(Access::Session, routes!(organization::get, organization::change))
        .api(
            Access::Session,
            routes!(deletion::delete_organization, deletion::restore_organization),
        )
        .api(Access::Session, routes!(sessions::list, sessions::end_others))
        .api(Access::Session, routes!(sessions::end))
        .api(Access::Session, routes!(api_keys::create, api_keys::list))
        .api(Access::Session, routes!(api_keys::revoke))
        .api(Access::Session, routes!(invitations::create, invitations::list))
        .api(Access::Session, routes!(invitations::withdraw))
        .api(Access::Session, routes!(audit::list))
        .api(Access::Session, routes!(usage::report))
        .api(Access::Session, routes!(caches::purge))
        .api(Access::Session, routes!(conversations::create, conversations::list))
        .api(
            Access::Session,
            routes!(conversations::get, conversations::change, conversations::delete),
        );
    let short = if rules.public_metrics {
        short.page(Method::GET, "/metrics", Access::Open, routing::get(health::metrics))
    } else {
        short
    };
    let timeout = rules.request_timeout;
    let small_body = rules.body_limit.min(SMALL_BODY);
    let short = pages::routes(short)
        .wrap(etag::tags)
        .wrap(layers::compression)
        .wrap(move |router| layers::body_limit(router, small_body))
        .wrap(move |router| layers::time_limit(router, timeout));
    // Neither compressed nor tagged, for which it would have to be whole, and with no limit of time: it may be long.
    let export = Routes::new(openapi::base()).api(Access::Session, routes!(deletion::export));
    let again = Routes::new(openapi::base())
        .api(Access::Session, routes!(answers::regenerate))
        .wrap(move |router| layers::body_limit(router, small_body));
    let streaming = Routes::new(openapi::base())
        .api(Access::Session, routes!(answers::ask))
        .api(Access::Program, routes!(openai::completions::chat))
        .api(Access::Program, routes!(openai::completions::embeddings))
        .api(Access::Program, routes!(openai::models::list))
        .api(Access::Program, routes!(openai::models::get));
    short.merge(again).merge(export).merge(streaming)
}

/// The whole service: the routes behind the layers.
pub fn build(router: Router<AppState>, edge_state: Edge, state: AppState, rules: &EdgeRules) -> Service {
    let router = router
        .fallback(|| async { ApiError::not_found() })
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() });
    // One call for all: each call boxes every route once more, for every request.
    let router = router.layer((
        from_fn_with_state(edge_state.clone(), edge),
        DefaultBodyLimit::max(rules.body_limit),
        Extension(BodyLimit(rules.body_limit)),
        Extension(BodyTimeout(rules.body_timeout)),
        layers::catch_panic(),
    ));
    let router = match layers::cors(&rules.cors_origins) {
        Some(cors) => router.layer(cors),
        None => router,
    };
    let completions = state.services.completions.clone();
    let cors = !rules.cors_origins.is_empty();
    Service::new(
        router.with_state(state),
        edge_state,
        completions,
        Bounds {
            bytes: rules.body_limit,
            time: rules.body_timeout,
        },
        cors,
    )
}
