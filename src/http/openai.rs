//! `/v1`: the OpenAI API for programs.

pub mod completions;
pub mod models;
