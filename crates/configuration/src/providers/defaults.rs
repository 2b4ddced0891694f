//! What holds for a provider that is configured with no more than its kind. The reasons are in `config/default.toml`.

use std::{collections::BTreeMap, time::Duration};

use super::{Http2, ProviderConfig, ProviderKind};

impl ProviderConfig {
    /// With the defaults of everything else.
    pub fn new(kind: ProviderKind) -> Self {
        Self {
            kind,
            base_url: None,
            api_key: None,
            headers: BTreeMap::new(),
            discover_models: false,
            discovered_input_price: None,
            discovered_output_price: None,
            discovered_free: false,
            connect_timeout: connect(),
            first_byte_timeout: first_byte(),
            first_content_timeout: first_content(),
            chunk_timeout: chunk(),
            whole_timeout: whole(),
            total_timeout: total(),
            idle_timeout: idle(),
            max_connection_age: connection_age(),
            max_connections: connections(),
            http2: http2(),
            proxy: None,
            usage_in_streams: usage_in_streams(),
            embedding_models: None,
            skipped_models: None,
            state_file: None,
            model: None,
            model_name: None,
            ready_timeout: ready(),
            first_token_delay: first_token_delay(),
            token_delay: token_delay(),
        }
    }
}

pub(super) fn connect() -> Duration {
    Duration::from_secs(5)
}

pub(super) fn first_byte() -> Duration {
    Duration::from_mins(1)
}

pub(super) fn first_content() -> Duration {
    Duration::from_mins(5)
}

pub(super) fn whole() -> Duration {
    Duration::from_mins(5)
}

pub(super) fn idle() -> Duration {
    Duration::from_secs(50)
}

pub(super) fn connection_age() -> Duration {
    Duration::from_mins(5)
}

pub(super) fn connections() -> usize {
    4096
}

pub(super) fn http2() -> Http2 {
    Http2::Auto
}

pub(super) fn usage_in_streams() -> bool {
    true
}

pub(super) fn chunk() -> Duration {
    Duration::from_secs(30)
}

pub(super) fn total() -> Duration {
    Duration::from_mins(10)
}

pub(super) fn ready() -> Duration {
    Duration::from_secs(30)
}

pub(super) fn first_token_delay() -> Duration {
    Duration::from_millis(250)
}

pub(super) fn token_delay() -> Duration {
    Duration::from_millis(25)
}
