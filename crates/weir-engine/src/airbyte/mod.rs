//! The second front-end: Airbyte's low-code manifests, read by the same client, decoders, scanner
//! and batches as weir's own connectors. What is peculiar to manifests lies here, one dialect a
//! folder: templates that mean Python (`template`), dates (`time`), how requests are put together
//! (`request`), what happens to records (`records`), and slices with the reference's states (`slices`).

mod add;
mod assemble;
mod auth;
mod check;
mod components;
mod config;
mod dynamic;
mod edges;
mod env;
mod jobs;
mod known;
mod live;
mod manifest;
mod node;
mod page_reader;
mod patience;
mod records;
mod request;
mod retriever;
mod schema;
mod slice_reader;
mod slices;
mod source;
mod stream;
mod template;
#[cfg(test)]
mod tests;
mod time;
mod turns;

pub use add::{MANIFEST_FILE, add};
pub use live::OnSettings;
pub use manifest::Manifest;
pub use source::{AirbyteSource, Configured, SourceSettings};
#[cfg(fuzzing)]
pub use template::render;
