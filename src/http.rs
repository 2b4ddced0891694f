//! The edge: one route table, one ordered list of layers, and thin handlers. Programs' calls to models go a shorter way past
//! the same checks ([`service`]).
//!
//! The layers, in the order a request meets them:
//!
//! 1. CORS ([`layers`]), if any origin is allowed: answers preflights.
//! 2. The edge ([`edge`]): request id, client address, the gate's verdict, metrics, the log, the writing of failures, and
//!    security headers. One layer, since each boxed future costs every request.
//! 3. Panics become a failure ([`layers`]).
//! 4. The body limit, which extractors enforce.
//! 5. For routes that are not streams: time limit and compression ([`layers`]).
//! 6. The handler.

pub mod accounts;
pub mod answers;
pub mod api_keys;
pub mod audit;
pub mod body;
pub mod cache_control;
pub mod caches;
pub mod conversations;
pub mod deletion;
pub mod edge;
pub mod etag;
pub mod extract;
pub mod health;
pub mod invitations;
pub mod layers;
mod meant;
pub mod models;
pub mod openai;
pub mod openapi;
pub mod ops;
pub mod organization;
pub mod pages;
pub mod render;
pub mod router;
pub mod routes;
pub mod service;
pub mod sessions;
pub mod usage;
