//! A key in a header, a query parameter or a cookie.

use weir_protocol::Result;
use weir_protocol::spec::Placement;

use super::credential::Values;
use super::fixed::{Fixed, Put};

pub(super) fn build(values: &Values, placement: Placement, name: &str, value: &str) -> Result<Fixed> {
    let value = values.required(value)?;
    Ok(Fixed::new(
        values,
        Put {
            placement,
            name: name.to_owned(),
        },
        value,
    ))
}
