//! What somebody asked for without being allowed to.

use weir_protocol::Result;

use super::{Access, Permission};
use crate::audit::{self, Ending, Record};
use crate::{Acting, Store};

/// Of what a caller names, which may be anything, so much is noted.
const NAME_CHARS_MAX: usize = 100;

/// Notes that neither roles nor scopes gave a permission. Only for changes: who may read nothing may ask as often as
/// they like, and would fill the trail.
///
/// `subject` is what was asked for, such as `route:/calls`; `acting` is who asked.
///
/// # Errors
/// `unavailable` where the trail cannot be written; the refusal stands then, and says so.
pub async fn note_refusal(
    store: &Store,
    acting: Acting,
    access: &Access,
    permission: Permission,
    subject: &str,
) -> Result<()> {
    if !permission.as_str().ends_with(":write") {
        return Ok(());
    }
    let subject: String = subject.chars().take(NAME_CHARS_MAX).collect();
    let record = Record::new(&access.tenant, "access.refuse", subject)
        .ended(Ending::Refused)
        .with("permission", permission.as_str());
    audit::append(&store.acting_as(acting), &record).await
}
