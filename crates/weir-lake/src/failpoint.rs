//! Named moments at which tests stop a writer (`docs/reference/failpoints.md` lists them).

use weir_protocol::Result;

/// Passes, unless the build has the feature `failpoints` and a test set this point.
#[cfg_attr(
    not(feature = "failpoints"),
    expect(
        clippy::unnecessary_wraps,
        reason = "fails only where fail points are built in"
    )
)]
pub(crate) fn reach(name: &'static str) -> Result<()> {
    fail::fail_point!(name, |_| Err(weir_protocol::Error::internal(format!(
        "stopped at the fail point {name}"
    ))
    .hint("unset FAILPOINTS")));
    #[cfg(not(feature = "failpoints"))]
    let _: &str = name;
    Ok(())
}
