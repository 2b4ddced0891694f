//! The nouns, and the rules that need no I/O.

pub mod account;
pub mod audit;
pub mod clock;
pub mod conversation;
pub mod device;
pub mod email;
pub mod field;
pub mod ids;
pub mod json;
pub mod model;
pub mod money;
pub mod network;
pub mod page;
pub mod password;
pub mod principal;
pub mod role;
pub mod text;
pub mod thoughts;
pub mod tokens;
pub mod usage;
