//! `WEIR_FAILPOINT=<name>[:<nth>]`: the process dies when it passes that point for the nth time.

use weir_protocol::{Error, Result};

/// Arms the point that the setting names. Only builds with the feature `failpoints` have any.
#[cfg(feature = "failpoints")]
pub(crate) fn arm(setting: &str) -> Result<()> {
    use std::sync::atomic::{AtomicU64, Ordering};

    let (name, nth) = match setting.split_once(':') {
        Some((name, nth)) => {
            let parsed = nth.parse().ok().filter(|nth| *nth > 0);
            (name, parsed.ok_or_else(|| malformed(setting))?)
        }
        None => (setting, 1),
    };
    let passed = AtomicU64::new(0);
    // As kill -9 does: no destructor runs, nothing is flushed.
    fail::cfg_callback(name, move || {
        if passed.fetch_add(1, Ordering::Relaxed) + 1 == nth {
            std::process::abort();
        }
    })
    .map_err(|problem| malformed(setting).with("problem", problem))
}

#[cfg(feature = "failpoints")]
fn malformed(setting: &str) -> Error {
    Error::usage(format!("WEIR_FAILPOINT={setting} is not <name>[:<nth>]"))
        .hint("docs/reference/failpoints.md lists the names")
}

#[cfg(not(feature = "failpoints"))]
pub(crate) fn arm(setting: &str) -> Result<()> {
    Err(Error::usage("this build has no fail points")
        .with("WEIR_FAILPOINT", setting)
        .hint("unset WEIR_FAILPOINT, or build with --features weir/failpoints"))
}
