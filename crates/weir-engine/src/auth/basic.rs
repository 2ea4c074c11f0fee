//! HTTP basic authentication (RFC 7617).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use weir_protocol::Result;

use super::credential::Values;
use super::fixed::{Fixed, Put};

pub(super) fn build(values: &Values, username: &str, password: &str) -> Result<Fixed> {
    let value = header(&values.required(username)?, &values.optional(password)?);
    Ok(Fixed::new(values, Put::header("Authorization"), value))
}

pub(super) fn header(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}
