//! MapleAI: an AI service that an organisation runs for its people and its programs.
//!
//! A request walks one way:
//!
//! ```text
//! cli -> app -> http, web -> auth -> service -> { store, provider } -> { domain, crypto }
//! ```
//!
//! `service` holds the rules; `store` holds all SQL; `provider` holds the upstreams; `task` is background work beside
//! `http`. `config` is plain data, handed out section by section. `tests/architecture.rs` holds everyone to this.

pub mod app;
pub mod auth;
pub mod cli;
pub mod failure;
pub mod http;
pub mod lifecycle;
pub mod service;
pub mod state;
pub mod task;
pub mod web;
