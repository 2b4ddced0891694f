//! A model that is run beside this process: its place in the catalogue, and what its file says of it.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    state_file::{FileVersion, ReadResult, ReportedState, read_state},
    status::{Live, LocalStatus, Status, edition_of},
};
use configuration::ProviderConfig;
use domain::{
    model::{Caching, Model, ModelKind},
    money::Price,
};

/// Id and name where nothing else is configured.
const USUAL: (&str, &str) = ("smollm2-135m", "SmolLM2 135M (on this machine)");
/// Between two looks at the state file.
const INTERVAL: Duration = Duration::from_millis(500);

/// A model that is run beside this process, and how it is. Shared by its provider and whoever watches its file.
pub struct LocalModel {
    pub(super) provider: String,
    /// In the catalogue.
    pub id: Arc<str>,
    /// In sentences: its name without what stands in brackets behind it.
    pub(super) shown: String,
    file: PathBuf,
    config: ProviderConfig,
    pub(super) status: watch::Sender<Status>,
}

impl LocalModel {
    pub(crate) fn new(model: &Model, config: &ProviderConfig) -> Self {
        Self {
            provider: model.provider.to_string(),
            id: Arc::clone(&model.id),
            shown: model.name.split(" (").next().unwrap_or_default().to_owned(),
            file: config.state_file.clone().unwrap_or_default(),
            config: with_limits(config),
            status: watch::Sender::new(Status::NotStarted),
        }
    }

    pub fn status(&self) -> LocalStatus {
        self.status.borrow().report(&self.shown)
    }

    /// Follows the state file for as long as it is polled.
    pub async fn watch(&self) {
        let (mut before, mut unreadable) = (None, None);
        loop {
            let path = self.file.clone();
            match tokio::task::spawn_blocking(move || read_state(&path, before)).await {
                Ok(ReadResult::Unreadable(error)) => {
                    if unreadable.replace(error.kind()) != Some(error.kind()) {
                        tracing::warn!(target: "mapleai::providers", provider = self.provider, %error, "the state file of the local model cannot be read");
                    }
                    self.become_status(Status::NotStarted);
                    before = None;
                }
                Ok(seen) => {
                    unreadable = None;
                    before = self.follow(seen, before);
                }
                // The process ends.
                Err(_) => return,
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    fn follow(&self, seen: ReadResult, before: Option<FileVersion>) -> Option<FileVersion> {
        match seen {
            ReadResult::Unchanged => before,
            ReadResult::Missing | ReadResult::Unreadable(_) => {
                self.become_status(Status::NotStarted);
                None
            }
            ReadResult::Changed(version, Ok(state)) => {
                self.take(state);
                Some(version)
            }
            ReadResult::Changed(version, Err(unusable)) => {
                tracing::warn!(target: "mapleai::providers", provider = self.provider, %unusable, "the state file of the local model is not used");
                self.become_status(Status::Failed(format!("its state file is not used: {unusable}")));
                Some(version)
            }
        }
    }

    fn take(&self, state: ReportedState) {
        let status = match state {
            ReportedState::Building => Status::Building,
            ReportedState::Downloading { percent } => Status::Downloading(percent),
            ReportedState::Loading => Status::Loading,
            ReportedState::Restarting { reason } => Status::Restarting(reason),
            ReportedState::Failed { reason } => Status::Failed(reason),
            ReportedState::Ready { url, key, model } => {
                let edition = edition_of(&url, &key, &model);
                if self.edition() == Some(edition) {
                    return;
                }
                match Live::new(&self.provider, &self.config, url, key, model) {
                    Ok(live) => Status::Ready(Arc::new(live)),
                    Err(error) => Status::Failed(format!("its state file is not used: {error}")),
                }
            }
        };
        self.become_status(status);
    }

    fn become_status(&self, status: Status) {
        let (before, now) = (self.status.borrow().state(), status.state());
        self.status.send_replace(status);
        if before != now {
            tracing::info!(target: "mapleai::providers", provider = self.provider, model = &*self.id, state = now, "the local model");
        }
    }

    /// Nobody listens where `live` was. Its port may be another program's next, so it is not tried again.
    pub(super) fn lose(&self, live: &Arc<Live>) {
        self.status.send_if_modified(|status| {
            let is_it = matches!(status, Status::Ready(ready) if Arc::ptr_eq(ready, live));
            if is_it {
                *status = Status::Lost(Instant::now());
            }
            is_it
        });
    }

    pub(super) fn edition(&self) -> Option<u64> {
        match &*self.status.borrow() {
            Status::Ready(live) => Some(live.edition),
            _ => None,
        }
    }
}

/// What a small model on busy cores takes: reading a prompt of 6,000 tokens may be four minutes, behind another caller's. The server
/// gives a sign of life every five seconds meanwhile, so that one that has died is known by its silence.
fn with_limits(config: &ProviderConfig) -> ProviderConfig {
    ProviderConfig {
        first_byte_timeout: Duration::from_mins(1),
        first_content_timeout: Duration::from_mins(15),
        chunk_timeout: Duration::from_mins(1),
        whole_timeout: Duration::from_mins(20),
        total_timeout: Duration::from_mins(30),
        ..config.clone()
    }
}

/// The one model of a provider of kind `local`, which costs nothing.
pub(crate) fn entry(provider: &str, config: &ProviderConfig, caching: Caching) -> Model {
    let (id, name) = USUAL;
    let id: Arc<str> = config.model.as_deref().unwrap_or(id).into();
    Model {
        name: config.model_name.as_deref().unwrap_or(name).into(),
        kind: ModelKind::Chat,
        provider: provider.into(),
        upstream: Arc::clone(&id),
        id,
        input_price: Price::default(),
        cached_input_price: Price::default(),
        output_price: Price::default(),
        caching,
    }
}
