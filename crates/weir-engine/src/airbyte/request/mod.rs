//! How requests are put together, judged and paged through.

mod backoff;
mod budget;
mod cached;
mod errors;
mod inject;
mod matcher;
mod options;
mod pagination;
mod properties;
mod requester;
mod url;

pub(crate) use budget::Budget;
pub(crate) use inject::{Injection, SliceOption};
pub(crate) use matcher::Matcher;
pub(crate) use options::{Mapping, Options};
pub(crate) use pagination::{PageEnd, Paginator};
pub(crate) use properties::Properties;
pub(crate) use requester::{CREATION, Call, Outcome, POLLING, Requester};
