//! A small language model for `make run`: finds or fetches its file, runs it in a process of its own, and serves it on
//! loopback. MapleAI knows of it only by a state file.
//!
//! `fetch` and `run` ask the network and start processes; `serve` does neither.

pub mod cli;
pub mod engine;
pub mod fetch;
pub mod serve;
pub mod server;
pub mod supervise;
pub mod weights;
