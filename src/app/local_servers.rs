//! Model servers that run on this machine already: which are looked for, and what becomes of those that are found.

use std::collections::BTreeSet;

use url::{Host, Url};

use configuration::{AnswerCaching, Config};
use provider::{
    Registry,
    local_servers::{self, LocalModelServer},
    registry::ProviderSetupError,
};

/// Looks for those that the configuration wants looked for, within its limit. Not for one that it has a provider for, and not at
/// the port that this process is to listen at.
pub async fn look(config: &Config) -> Vec<LocalModelServer> {
    let urls = config
        .providers
        .values()
        .filter_map(|provider| provider.base_url.as_ref());
    let named_ports: BTreeSet<u16> = urls.filter_map(local_port).collect();
    let wanted: Vec<_> = config
        .local
        .servers
        .iter()
        .filter(|server| {
            let is_named = config.providers.contains_key(server.product.as_str());
            !is_named && !named_ports.contains(&server.port) && server.port != config.server.port
        })
        .copied()
        .collect();
    local_servers::look(&wanted, config.local.look_timeout).await
}

/// Adds what was found to the catalogue, and tells of it.
pub(super) fn add(
    registry: &mut Registry,
    found: Vec<LocalModelServer>,
    caching: AnswerCaching,
) -> Result<(), ProviderSetupError> {
    for server in found {
        let added = registry.add_found(server, caching)?;
        let (product, port, models) = (added.product, added.port, added.models.len());
        let left_out = (!added.left_out.is_empty()).then(|| added.left_out.to_string());
        tracing::info!(target: "mapleai::providers", %product, port, models, left_out, "a model server on this machine was found");
    }
    Ok(())
}

/// Of a server on this machine.
fn local_port(url: &Url) -> Option<u16> {
    let is_local = match url.host()? {
        Host::Domain(name) => name.eq_ignore_ascii_case("localhost"),
        Host::Ipv4(address) => address.is_loopback() || address.is_unspecified(),
        Host::Ipv6(address) => address.is_loopback() || address.is_unspecified(),
    };
    is_local.then(|| url.port_or_known_default())?
}

#[cfg(test)]
mod tests {
    use super::local_port;

    #[test]
    fn a_configured_provider_on_this_machine_is_known_by_its_port() {
        let port = |url: &str| local_port(&url.parse().unwrap());
        for local in [
            "http://localhost:8000/v1",
            "http://127.0.0.1:8000",
            "http://[::1]:8000/v1",
        ] {
            assert_eq!(port(local), Some(8000), "{local}");
        }
        assert_eq!(port("https://models.example:8000/v1"), None);
    }
}
