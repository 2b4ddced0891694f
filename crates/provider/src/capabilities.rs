//! What a provider can do: asked once, when it is set up, in place of what its kind would tell.

/// See [`Provider::capabilities`](crate::Provider::capabilities).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// It answers [`Endpoint::Embeddings`](llm::Endpoint). Without them it has no models for embeddings, so that `send` is asked for none.
    pub embeddings: bool,
    /// `list_models` asks the server. Without a list its models are not discovered, and health knows of it only by calls.
    pub model_list: bool,
    /// Its streams report usage where `stream_options` asks for that. It may say so and refuse it all the same: then it is asked once.
    pub usage_in_streams: bool,
    pub origin: Origin,
}

/// Where answers come from, in the order in which callers who chose no model get one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A vendor's server, wherever it runs.
    Server,
    /// A process that runs beside this one for it.
    Beside,
    MadeUp,
}

impl Capabilities {
    /// Of a server with OpenAI's API. Some have less of it, and refuse what they do not have.
    pub const OPENAI: Self = Self {
        embeddings: true,
        model_list: true,
        usage_in_streams: true,
        origin: Origin::Server,
    };
}
