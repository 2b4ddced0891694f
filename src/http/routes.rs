//! The route table: each route with its access, kept beside the router so that the edge, the document and the tests all
//! speak of the same routes.

use std::{collections::HashMap, sync::Arc};

use axum::{Router, routing::MethodRouter};
use http::Method;
use utoipa::openapi::{
    OpenApi, Ref, RefOr,
    path::{Operation, PathItem},
    response::ResponseBuilder,
    security::SecurityRequirement,
};
use utoipa_axum::router::UtoipaMethodRouter;

use super::{cache_control::CacheClass, edge::RouteMetrics, render::Dialect};
use crate::{auth::access::Access, state::AppState};

/// What the edge knows of a route.
pub struct RouteInfo {
    pub method: Method,
    pub path: Arc<str>,
    pub access: Access,
    pub metrics: RouteMetrics,
    pub cache: CacheClass,
}

/// What the table knows of a path and method.
pub enum RouteMatch<'a> {
    Route(&'a Arc<RouteInfo>),
    /// The path does not take this method.
    NoMethod,
    NoPath,
}

/// Path template -> its methods.
#[derive(Default)]
pub struct RouteTable(HashMap<Box<str>, Vec<Arc<RouteInfo>>>);

impl RouteTable {
    pub fn find(&self, path: &str, method: &Method) -> RouteMatch<'_> {
        // HEAD is answered by GET's handler.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let Some(routes) = self.0.get(path) else {
            return RouteMatch::NoPath;
        };
        routes
            .iter()
            .find(|route| route.method == *method)
            .map_or(RouteMatch::NoMethod, RouteMatch::Route)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<RouteInfo>> {
        self.0.values().flatten()
    }

    fn add(&mut self, method: Method, path: &str, access: Access) {
        let metrics = RouteMetrics::new(&method, path);
        let cache = CacheClass::of(&method, path, access);
        let route = Arc::new(RouteInfo {
            method,
            path: path.into(),
            access,
            metrics,
            cache,
        });
        self.0.entry(path.into()).or_default().push(route);
    }
}

/// A router under construction, with its table and document.
pub struct Routes {
    router: Router<AppState>,
    table: RouteTable,
    document: OpenApi,
}

impl Routes {
    pub fn new(document: OpenApi) -> Self {
        Self {
            router: Router::new(),
            table: RouteTable::default(),
            document,
        }
    }

    /// Adds documented routes. The failures that follow from the access and the shape of a route are documented here, so
    /// that no handler can forget them.
    #[must_use]
    pub fn api(mut self, access: Access, (schemas, paths, handlers): UtoipaMethodRouter<AppState>) -> Self {
        let components = self.document.components.get_or_insert_default();
        components.schemas.extend(schemas);
        for (path, mut item) in paths.paths {
            let dialect = Dialect::of(&path);
            // A wildcard is a parameter to whoever reads the document.
            let documented = path.replace("{*", "{");
            for (method, operation) in operations(&mut item) {
                operation.operation_id = Some(operation_id(&method, &documented));
                self.table.add(method, &path, access);
                document_failures(operation, access, dialect, &documented);
            }
            self.router = self.router.route(&path, handlers.clone());
            match self.document.paths.paths.get_mut(&documented) {
                Some(existing) => existing.merge_operations(item),
                None => {
                    self.document.paths.paths.insert(documented, item);
                }
            }
        }
        self
    }

    /// Adds a page or another route outside the document.
    #[must_use]
    pub fn page(mut self, method: Method, path: &str, access: Access, handlers: MethodRouter<AppState>) -> Self {
        self.table.add(method, path, access);
        self.router = self.router.route(path, handlers);
        self
    }

    /// Wraps the routes added so far.
    #[must_use]
    pub fn wrap(mut self, wrap: impl FnOnce(Router<AppState>) -> Router<AppState>) -> Self {
        self.router = wrap(self.router);
        self
    }

    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        for (path, routes) in other.table.0 {
            self.table.0.entry(path).or_default().extend(routes);
        }
        self.document.merge(other.document);
        self
    }

    pub fn into_parts(self) -> (Router<AppState>, RouteTable, OpenApi) {
        (self.router, self.table, self.document)
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::PUT, &mut item.put),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| operation.as_mut().map(|operation| (method, operation)))
}

/// Handlers have the names of what they do, which several do to different things; ids must differ.
fn operation_id(method: &Method, path: &str) -> String {
    let words = path
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty() && *word != "api");
    let mut id = method.as_str().to_lowercase();
    for word in words {
        id.push('_');
        id.push_str(word);
    }
    id
}

fn document_failures(operation: &mut Operation, access: Access, dialect: Dialect, path: &str) {
    let body = operation.request_body.is_some();
    let with_parameters = operation
        .parameters
        .as_ref()
        .is_some_and(|parameters| !parameters.is_empty());
    let mut statuses = vec![(503, "The service, or a part it needs, is away for the moment")];
    if !matches!(access, Access::Open | Access::Probe) {
        statuses.push((401, "Credentials are missing or not valid"));
    }
    if access == Access::Session {
        statuses.push((
            403,
            "The caller's role, or a missing anti-forgery token, does not allow this",
        ));
    }
    if access == Access::Program {
        statuses.push((
            429,
            "Too many calls, or too many unknown keys from this address; see Retry-After",
        ));
    }
    if body {
        statuses.extend([
            (400, "The body is not valid JSON"),
            (408, "The body took too long to arrive"),
            (413, "The body is too large"),
            (415, "The body is not JSON"),
        ]);
    }
    if dialect == Dialect::Problem && (body || with_parameters) {
        statuses.push((422, "A field is missing, has the wrong type or an unacceptable value"));
    }
    if path.contains('{') {
        statuses.push((404, "There is no such thing, or it is another organisation's"));
    }
    let (schema, content_type) = match dialect {
        Dialect::OpenAi => ("OpenAiError", "application/json"),
        Dialect::Problem | Dialect::Page => ("Problem", "application/problem+json"),
    };
    for (status, description) in statuses {
        operation
            .responses
            .responses
            .entry(status.to_string())
            .or_insert_with(|| {
                let content = utoipa::openapi::ContentBuilder::new()
                    .schema(Some(Ref::from_schema_name(schema)))
                    .build();
                RefOr::T(
                    ResponseBuilder::new()
                        .description(description)
                        .content(content_type, content)
                        .build(),
                )
            });
    }
    operation.security = Some(match access {
        Access::Open | Access::OpenForm => Vec::new(),
        // The empty requirement: it works without.
        Access::Probe => vec![SecurityRequirement::default(), requirement("operations_token")],
        Access::Session | Access::Page => vec![requirement("access_token"), requirement("session_cookie")],
        Access::Program => vec![requirement("api_key"), requirement("access_token")],
        Access::Operator => vec![requirement("operations_token")],
    });
}

fn requirement(name: &str) -> SecurityRequirement {
    SecurityRequirement::new::<_, [&str; 0], &str>(name, [])
}
