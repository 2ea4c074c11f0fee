//! A caller who does not want a call any more that has not begun.

use weir_protocol::{Error, ErrorKind, Result};

use super::{Call, Status, rules};
use crate::principals::{Access, Permission, may};
use crate::{Store, approvals};

/// Takes back one's own call while people decide about it, or before it begins. One that was taken back
/// stays so; one that has begun is a conflict, as nobody can say that it will not happen.
pub async fn take_back(store: &Store, access: &Access, id: &str) -> Result<Call> {
    may(access, Permission::ActionsWrite)?;
    let own = async || -> Result<Call> {
        let found = super::find(store, &access.tenant, id).await?;
        let own = found.filter(|call| call.principal == access.principal);
        own.ok_or_else(|| rules::no_such_call(id))
    };
    let call = own().await?;
    if matches!(call.status, Status::Waiting | Status::Ready) {
        let why = Error::new(ErrorKind::Cancelled, "its caller took it back")
            .hint("ask for it again if it is wanted after all");
        approvals::take_back(store, &call, &why).await?;
    }
    let call = own().await?;
    if call.is_taken_back() {
        return Ok(call);
    }
    Err(Error::new(
        ErrorKind::Conflict,
        "the call has begun or is over, and cannot be taken back",
    )
    .with("call", id)
    .with("status", call.status)
    .hint("read the call to see what becomes of it"))
}

impl Call {
    /// Whether its caller took it back before anything was sent.
    pub fn is_taken_back(&self) -> bool {
        let is_cancelled = |kind: &str| kind == ErrorKind::Cancelled.as_str();
        self.status == Status::Refused && self.error.as_ref().is_some_and(|error| is_cancelled(&error.kind))
    }
}
