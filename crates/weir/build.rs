//! How the program is linked.
#![expect(
    clippy::disallowed_methods,
    reason = "cargo tells a build script its target by environment variables"
)]

use std::env::var;
use std::process::Command;

/// The first glibc whose loader reads packed relocations.
const GLIBC_MIN: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=WEIR_OLD_GLIBC");
    // Each start reads every relocation: 8 MB of them as they are, 0.1 MB packed.
    if may_pack_relocations() {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether the program runs where it is built, by a loader that is new enough.
fn may_pack_relocations() -> bool {
    let is = |name: &str, value: &str| var(name).is_ok_and(|found| found == value);
    let is_own_glibc = is("CARGO_CFG_TARGET_OS", "linux")
        && is("CARGO_CFG_TARGET_ENV", "gnu")
        && var("HOST").is_ok_and(|host| is("TARGET", &host));
    is_own_glibc && var("WEIR_OLD_GLIBC").is_err() && glibc().is_some_and(|version| version >= GLIBC_MIN)
}

fn glibc() -> Option<(u32, u32)> {
    let found = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(found.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
