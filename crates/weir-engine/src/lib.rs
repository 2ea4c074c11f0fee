//! Speaks to outside systems: reads their streams, performs actions at them. Knows no control database and no lake.

pub mod action;
pub mod airbyte;
pub mod auth;
pub mod bundle;
pub mod catalog;
pub mod clock;
mod config;
mod connect;
pub mod control;
pub mod cursor;
pub mod declarative;
pub mod decode;
pub mod duration;
pub mod extract;
mod fingerprint;
pub mod fixtures;
pub mod hook;
pub mod http;
pub mod interpolate;
pub mod native;
pub mod notify;
pub mod pagination;
pub mod request;
pub mod rotation;
pub mod scaffold;
pub mod slicing;
pub mod transform;
pub mod vault;

pub use clock::Clock;
pub use connect::{
    EngineSettings, actions, authorization_server, check_file, connect, declared_streams, has_actions,
    own_tokens,
};
pub use fingerprint::account;
