//! SQL over the lake: ad-hoc questions and Gold models. The only crate that names DataFusion; nothing
//! of it shows in what this crate offers.

mod answer;
mod bronze;
mod catalog;
mod engine;
mod failure;
mod functions;
mod guard;
mod lake;
pub mod models;
mod nesting;
mod output;
mod scan;
mod session;
pub mod tables;

#[cfg(test)]
mod tests;

pub use engine::{QueryEngine, Settings};
pub use lake::LakeTables;
pub use output::{Format, Written};
pub use tables::{AsOf, Build, BuildMode, GoldWriter, Layer, Snapshot, Staged, TableName, Tables};
