//! The server's behaviour, over a model of a few kilobytes with random weights: no weights are fetched.

// `json!({…})` is handed over as it is made.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::needless_pass_by_value)]

mod abuse;
mod answers;
mod files;
mod limits;
mod prompts;
mod requests;
mod stops;
mod support;
