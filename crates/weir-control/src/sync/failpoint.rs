//! Named points at which a test makes a sync fail (`return`) or the process die (`return(abort)`).

use weir_protocol::Result;

pub(super) const AFTER_START: &str = "control.after_start";
pub(super) const AFTER_WISH: &str = "control.after_wish";
pub(super) const BEFORE_CHECKPOINT: &str = "control.before_checkpoint";
pub(super) const AFTER_RECEIPT: &str = "control.after_receipt";
pub(super) const AFTER_STORE: &str = "control.after_store";
pub(super) const BEFORE_FINISH: &str = "control.before_finish";
pub(super) const BEFORE_RELEASE: &str = "control.before_release";
pub(super) const BEFORE_END: &str = "control.before_end";

#[cfg(feature = "failpoints")]
pub(super) fn reach(name: &'static str) -> Result<()> {
    fail::fail_point!(name, |action: Option<String>| match action.as_deref() {
        // As kill -9 does: no destructor runs.
        Some("abort") => std::process::abort(),
        _ => Err(weir_protocol::Error::internal(format!("fail point {name}"))
            .hint("it is set in FAILPOINTS; unset it")),
    });
    Ok(())
}

#[cfg(not(feature = "failpoints"))]
#[expect(
    clippy::unnecessary_wraps,
    reason = "fails only where fail points are built in"
)]
pub(super) fn reach(_name: &'static str) -> Result<()> {
    Ok(())
}
