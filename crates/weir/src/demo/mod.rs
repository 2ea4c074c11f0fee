//! The demo: the whole data path against an API server of its own. It verifies what it claims.

mod chart;
mod dataset;
mod dice;
mod project;
mod render;
mod server;
mod stage;
mod story;
mod verify;
mod words;

pub(crate) use story::tell;
