//! The real weights: tokens and scores as a reference has them, and what the model answers.
//!
//! LOCAL_MODEL_FILE names the file; `scripts/test/local-model.sh` fetches it and runs these.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod answers;
mod memory;
mod reference;

use std::{path::PathBuf, sync::Arc};

use local_model::engine::Model;

fn file() -> PathBuf {
    std::env::var_os("LOCAL_MODEL_FILE")
        .map(PathBuf::from)
        .expect("LOCAL_MODEL_FILE names the weights")
}

fn model() -> Arc<Model> {
    Arc::new(Model::load(&file()).expect("load the model"))
}
