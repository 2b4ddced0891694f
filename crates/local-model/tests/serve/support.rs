pub(crate) mod server;
pub(crate) mod tiny_model;
