//! What every implementation of a trait must hold, as suites that any implementer can run over its
//! own: a broken property comes back as an error that names it. Built with the feature
//! `conformance`, for tests alone.

mod destination;
mod query;
mod secrets;
mod source;

pub use destination::{Place, destination};
pub use query::{Asked, query};
pub use secrets::secrets;
pub use source::source;

use std::fmt::Debug;

use crate::{Error, Result};

/// Fails with the property's name unless it holds.
fn holds(property: &'static str, is_so: bool, found: &dyn Debug) -> Result<()> {
    if is_so {
        return Ok(());
    }
    Err(Error::internal(format!("not so: {property}"))
        .with("found", format!("{found:?}"))
        .hint("the trait's documentation says what its implementations promise"))
}

/// Fails with the property's name unless both are equal.
fn same<T: PartialEq + Debug>(property: &'static str, found: &T, wanted: &T) -> Result<()> {
    holds(property, found == wanted, &(found, wanted))
}
