//! How a vendor makes a new credential and ends an old one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reading::{ErrorRule, Request};
use crate::error::{Error, Result};
use crate::units::Span;

/// Has the vendor exchange one field of the credential, in the order: make a new value, try it, let the runs that hold
/// the old one end, end the old one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotationSpec {
    /// Field of the credential that gets another value; a connection names it there as `secret:NAME`.
    pub field: String,
    /// Makes a new value, with the right of the present one.
    pub create: Request,
    /// Path of the new value in the answer.
    pub value: String,
    /// Path of the vendor's id of the new value, where ending it takes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Path of the moment at which the new value ends by itself: RFC 3339, or seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// How long a new value is good for, where the request asks for a time and the answer does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<Span>,
    /// Ends the value before with the right of the new one; its templates may name `input.id`. A value whose id is not
    /// known, because a person made it, is left to people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke: Option<Request>,
    /// The vendor ends the present value in the moment in which it makes the new one, which then counts untried.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub voids_present: bool,
    /// What answers to both requests mean.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ErrorRule>,
}

impl RotationSpec {
    pub(super) fn validate(&self) -> Result<()> {
        if self.voids_present && self.revoke.is_some() {
            return Err(
                Error::spec("rotation: `voids_present` leaves nothing for `revoke` to end")
                    .hint("leave out the one that the vendor does not have"),
            );
        }
        for (name, text) in [("field", &self.field), ("value", &self.value)] {
            if text.trim().is_empty() {
                return Err(Error::spec(format!("rotation: `{name}` is empty"))
                    .hint("`field` names a field of the credential, `value` the path of the new value in the answer"));
            }
        }
        Ok(())
    }
}
