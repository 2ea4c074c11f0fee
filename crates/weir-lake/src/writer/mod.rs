//! Streams into Silver tables, checkpoint by checkpoint.

pub(crate) mod checkpoint;
mod direct;
pub(crate) mod form;
pub(crate) mod gathered;
pub(crate) mod generations;
mod identity;
pub(crate) mod lineage;
mod open;
mod pipeline;
mod publish;
mod raw;
pub(crate) mod shape;
pub(crate) mod staging;
pub(crate) mod state;
mod stream;
