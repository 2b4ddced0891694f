//! Servers that were found on this machine, as providers.

use std::sync::Arc;

use super::{Kinds, ProviderSetupError, Registry, Route, Terms, Upstream, caching_of, discovery::model};
use crate::{
    local_servers::{ListedModel, LocalModelServer},
    openai::OpenAiProvider,
};
use configuration::AnswerCaching;
use domain::{model::Model, money::Price};

impl Registry {
    /// Adds the server under its product's name, unless there is such a provider, with free models; gives it with those of its models
    /// that were added. What is configured, or listed by a provider that is, wins, as does what was added before.
    pub fn add_found(
        &mut self,
        server: LocalModelServer,
        caching: AnswerCaching,
    ) -> Result<LocalModelServer, ProviderSetupError> {
        let name = server.product.as_str();
        let is_there = self.upstreams.iter().any(|upstream| upstream.provider.name() == name);
        let config = server.provider();
        let LocalModelServer {
            product,
            port,
            models,
            mut left_out,
        } = server;
        let added = |models, left_out| LocalModelServer {
            product,
            port,
            models,
            left_out,
        };
        if is_there || models.is_empty() {
            left_out.taken += models.len();
            return Ok(added(Vec::new(), left_out));
        }
        let provider = Box::new(OpenAiProvider::new(name, &config)?);
        let upstream = Arc::new(Upstream::new(provider, &config, true));
        let terms = Terms {
            input_price: Price::default(),
            output_price: Price::default(),
            caching: caching_of(caching),
            kinds: Kinds::new(None, None),
        };
        let mut taken = Vec::new();
        for listed in models {
            if self.route(&listed.id).is_some() {
                left_out.taken += 1;
                continue;
            }
            let Some(model) = model_of(&listed, name, &terms) else {
                left_out.unusable += 1;
                continue;
            };
            let (model, upstream) = (Arc::new(model), Arc::clone(&upstream));
            self.found.insert(Arc::clone(&model.id), Route::new(model, upstream));
            taken.push(listed);
        }
        if !taken.is_empty() {
            self.upstreams.push(upstream);
            self.upstreams
                .sort_by(|one, other| one.provider.name().cmp(other.provider.name()));
        }
        Ok(added(taken, left_out))
    }
}

fn model_of(listed: &ListedModel, provider: &str, terms: &Terms) -> Option<Model> {
    let kind = listed.kind.or_else(|| terms.kinds.of(&listed.id));
    let model = model(&listed.id, kind, provider, terms)?;
    Some(Model {
        name: format!("{} (on this machine)", listed.id).into(),
        ..model
    })
}
