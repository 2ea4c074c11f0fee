//! Speaks to outside systems: reads their streams. Knows no control database and no lake.

pub mod auth;
pub mod catalog;
pub mod clock;
pub mod cursor;
pub mod decode;
pub mod duration;
pub mod extract;
pub mod fixtures;
pub mod http;
pub mod interpolate;
pub mod native;
pub mod scaffold;

pub use clock::Clock;
