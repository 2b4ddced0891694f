//! Which provider a section of the configuration is: the one place that goes by its kind.

use std::sync::Arc;

use super::ProviderSetupError;
use crate::{
    Provider,
    local::{self, LocalModel, LocalProvider},
    mock::MockProvider,
    openai::OpenAiProvider,
};
use configuration::{ProviderConfig, ProviderKind};
use domain::model::{Caching, Model};

/// A provider as it is set up.
pub(crate) struct Vendor {
    pub(super) provider: Box<dyn Provider>,
    /// The model that a process beside this one runs for it, if there is one, and its place in the catalogue.
    pub(super) local: Option<(Arc<LocalModel>, Model)>,
}

impl Vendor {
    pub(crate) fn of(provider: impl Provider + 'static) -> Self {
        Self {
            provider: Box::new(provider),
            local: None,
        }
    }
}

pub(super) fn vendor(name: &str, config: &ProviderConfig, caching: Caching) -> Result<Vendor, ProviderSetupError> {
    Ok(match config.kind {
        ProviderKind::Openai => Vendor::of(OpenAiProvider::new(name, config)?),
        ProviderKind::Mock => Vendor::of(MockProvider::new(name, config)),
        ProviderKind::Local => {
            let model = local::entry(name, config, caching);
            let run = Arc::new(LocalModel::new(&model, config));
            Vendor {
                local: Some((Arc::clone(&run), model)),
                ..Vendor::of(LocalProvider::new(run, config))
            }
        }
    })
}
