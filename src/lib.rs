//! MapleAI: an AI service that an organisation runs for its people and its programs.
//!
//! This package is the edge and the program: a request walks
//!
//! ```text
//! cli -> app -> http, web -> auth -> failure -> service
//! ```
//!
//! and from there into the crates beside it (docs/ARCHITECTURE.md). `task` is background work beside `http`.

pub mod api_error;
pub mod app;
pub mod auth;
pub mod cli;
pub mod http;
pub mod lifecycle;
pub mod service;
pub mod state;
pub mod task;
pub mod web;
