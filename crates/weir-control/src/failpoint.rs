//! Named points at which a test makes a sync or a helper fail (`return`) or the process die (`return(abort)`).

use weir_protocol::Result;

pub(crate) const AFTER_START: &str = "control.after_start";
pub(crate) const AFTER_WISH: &str = "control.after_wish";
pub(crate) const BEFORE_CHECKPOINT: &str = "control.before_checkpoint";
pub(crate) const AFTER_RECEIPT: &str = "control.after_receipt";
pub(crate) const AFTER_STORE: &str = "control.after_store";
/// A slice is on offer.
pub(crate) const AFTER_OFFER: &str = "control.after_offer";
/// A helper holds a slice and has kept nothing of it.
pub(crate) const BEFORE_SPOOL: &str = "control.before_spool";
/// All that a helper read is kept, and nobody was told.
pub(crate) const AFTER_SPOOL: &str = "control.after_spool";
/// All of another's slice was taken in, and it is on offer still.
pub(crate) const BEFORE_FORGET: &str = "control.before_forget";
/// It is on offer no more, and its spool is there still.
pub(crate) const AFTER_FORGET: &str = "control.after_forget";
pub(crate) const BEFORE_FINISH: &str = "control.before_finish";
pub(crate) const BEFORE_RELEASE: &str = "control.before_release";
pub(crate) const BEFORE_END: &str = "control.before_end";

#[cfg(feature = "failpoints")]
pub(crate) fn reach(name: &'static str) -> Result<()> {
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
pub(crate) fn reach(_name: &'static str) -> Result<()> {
    Ok(())
}
