//! Speaks to outside systems: reads their streams. Knows no control database and no lake.

pub mod catalog;
pub mod clock;
pub mod cursor;
pub mod duration;
pub mod extract;
pub mod fixtures;
pub mod interpolate;
pub mod native;
pub mod scaffold;

pub use clock::Clock;
