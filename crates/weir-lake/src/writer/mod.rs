//! Streams into Silver tables, checkpoint by checkpoint.

pub(crate) mod checkpoint;
mod gathered;
mod publish;
pub(crate) mod shape;
pub(crate) mod staging;
pub(crate) mod state;
