//! The words and contracts that cross weir's crates: the connector spec, records, batches, slices,
//! state, secrets, errors, and the traits `Source`, `Destination`, `Query` and
//! `SecretProvider`.
//!
//! Nothing here does I/O, reads a clock or needs an async runtime.

pub mod action;
pub mod address;
pub mod books;
pub mod bundle;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod connection;
pub mod destination;
pub mod error;
pub mod hook;
pub mod json;
pub mod name;
pub mod oauth;
pub mod oidc;
pub mod permits;
pub mod query;
pub mod record;
pub mod schedule;
pub mod secret;
pub mod slices;
pub mod source;
pub mod spec;
pub mod state;
pub mod sync_mode;
pub mod tools;
pub mod units;
pub mod yaml;

pub use books::Books;
pub use destination::{Destination, Finished, Receipt, SchemaChange, StreamWriter, WritePlan};
pub use error::{Error, ErrorKind, Result};
pub use query::Query;
pub use record::{Batch, Record};
pub use secret::{Secret, SecretProvider};
pub use source::{ForeignState, ReadEvent, ReadRequest, Source, StreamDescriptor};
pub use state::{SliceState, StateChange, StreamState};
pub use sync_mode::{ReadMode, SyncMode, WriteMode};
