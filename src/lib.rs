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
pub mod cache;
pub mod cli;
pub mod config;
pub mod crypto;
pub mod deadline;
pub mod domain;
pub mod failure;
pub mod fair_queue;
pub mod http;
pub mod lifecycle;
pub mod memory;
pub mod provider;
pub mod service;
pub mod state;
pub mod store;
pub mod task;
pub mod telemetry;
pub mod web;
pub mod write_coalescing;
