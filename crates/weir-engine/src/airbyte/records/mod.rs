//! From an answer to records: decoding, extraction, filters, transformations, schema normalisation.

mod csv;
mod decode;
mod expand;
mod extract;
mod extractor;
mod normalise;
pub(crate) mod path;
mod rows;
mod select;
mod texts;
mod transform;

pub(crate) use decode::Decoder;
pub(crate) use extractor::Extractor;
pub(crate) use select::{Around, Selected, Selector};
pub(crate) use texts::{Texts, parsed};
pub(crate) use transform::{Transform, takes};
