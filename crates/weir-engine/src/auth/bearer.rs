//! `Authorization: Bearer …` (RFC 6750), or with a vendor's own word.

use weir_protocol::Result;

use super::credential::Values;
use super::fixed::{Fixed, Put};

pub(super) fn build(values: &Values, token: &str, scheme: Option<&str>) -> Result<Fixed> {
    let token = values.required(token)?;
    Ok(Fixed::new(
        values,
        Put::header("Authorization"),
        header(scheme, token.trim()),
    ))
}

/// An empty scheme sends the token alone.
pub(super) fn header(scheme: Option<&str>, token: &str) -> String {
    match scheme.unwrap_or("Bearer") {
        "" => token.to_owned(),
        scheme => format!("{scheme} {token}"),
    }
}
