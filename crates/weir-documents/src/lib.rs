//! What stands in a document: its elements, and the parties, dates, amounts, terms, renewals, notices and governing
//! law that a contract names, each with its place in the text and a confidence. Rules alone: no model, no network, no
//! clock, no process. English and Arabic.

mod document;
mod examine;
mod find;
mod format;
mod limits;
mod read;

pub use document::{
    Amount, Calendar, Date, Document, DocumentSchema, Duration, Element, ElementKind, Findings, GoverningLaw,
    Language, Notice, NoticePurpose, Party, Place, Renewal, RenewalKind, Term, schema,
};
pub use examine::examine;
pub use find::find;
pub use format::Format;
pub use limits::Limits;
pub use read::ocr::{NoOcr, Ocr, OcrPage, OcrText, tsv_page};
pub use read::read;
