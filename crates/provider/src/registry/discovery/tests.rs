use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use futures_util::future::BoxFuture;

use super::{Discovered, MAX_MODELS, Terms};
use crate::{
    Capabilities, Provider, ProviderError, ProviderReply, ProviderRequest,
    registry::{Kinds, ProviderSetupError, Upstream},
};
use configuration::{ProviderConfig, ProviderKind};
use domain::{
    model::{Caching, ModelKind},
    money::Price,
};

/// Lists this, one after the other.
struct Lists(Mutex<VecDeque<Vec<String>>>, Capabilities);

impl Provider for Lists {
    fn name(&self) -> &'static str {
        "lists"
    }

    fn capabilities(&self) -> Capabilities {
        self.1
    }

    fn send(&self, _: ProviderRequest) -> BoxFuture<'_, Result<ProviderReply, ProviderError>> {
        Box::pin(async { Err(ProviderError::BadReply("it only lists")) })
    }

    fn rotate(&self, _: &ProviderConfig) -> Result<(), ProviderSetupError> {
        Ok(())
    }

    fn list_models(&self) -> BoxFuture<'_, Result<Vec<String>, ProviderError>> {
        let next = self.0.lock().unwrap().pop_front();
        Box::pin(async { next.ok_or(ProviderError::BadReply("there is no more")) })
    }
}

fn discovered(lists: Vec<Vec<String>>) -> Discovered {
    discovered_by(lists, Capabilities::OPENAI)
}

fn discovered_by(lists: Vec<Vec<String>>, capabilities: Capabilities) -> Discovered {
    let config = ProviderConfig::new(ProviderKind::Openai);
    let upstream = Upstream::new(Box::new(Lists(Mutex::new(lists.into()), capabilities)), &config, false);
    let terms = Terms {
        input_price: Price::default(),
        output_price: Price::default(),
        caching: Caching::Off,
        kinds: Kinds::new(None, None),
    };
    Discovered::new(Arc::new(upstream), terms)
}

fn ids(discovered: &Discovered) -> Vec<String> {
    let mut ids: Vec<_> = discovered.routes().map(|route| route.model.id.to_string()).collect();
    ids.sort();
    ids
}

/// llama.cpp and Ollama list nothing while they load (mnfst/llm-gateway #2029).
#[tokio::test]
async fn later_lists_add_and_take_nothing_away() {
    let lists: [&[&str]; 4] = [&[], &["a", "odd name", "a"], &["b", "bge-m3"], &[]];
    let found = discovered(lists.map(|ids| ids.iter().map(|&id| id.to_owned()).collect()).into());
    found.ask().await;
    assert!(!found.has_models());
    found.ask().await;
    assert_eq!((found.has_models(), ids(&found)), (true, vec!["a".to_owned()]));
    let lent = found.route("a").unwrap();
    found.ask().await;
    assert_eq!(ids(&found), ["a", "b", "bge-m3"]);
    assert_eq!(found.route("bge-m3").unwrap().model.kind, ModelKind::Embedding);
    // Neither an empty list nor none at all changes anything.
    for _ in 0..2 {
        found.ask().await;
    }
    assert_eq!((ids(&found).len(), &*lent.model.id), (3, "a"));
}

#[tokio::test]
async fn models_of_one_provider_are_bounded_over_all_lists() {
    let list = |list: usize| (0..MAX_MODELS - 1).map(|number| format!("m-{list}-{number}")).collect();
    let found = discovered((0..3).map(list).collect());
    for _ in 0..3 {
        found.ask().await;
    }
    assert_eq!(found.routes().count(), MAX_MODELS);
}

#[tokio::test]
async fn models_for_embeddings_are_left_out_where_there_are_no_embeddings() {
    let capabilities = Capabilities {
        embeddings: false,
        ..Capabilities::OPENAI
    };
    let list = vec!["gpt-4.1".to_owned(), "text-embedding-3-small".to_owned()];
    let discovered = discovered_by(vec![list], capabilities);
    discovered.ask().await;
    assert_eq!(ids(&discovered), ["gpt-4.1"]);
}
