//! How much memory the C library's allocator keeps for itself.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) use glibc::{keep_small, set};

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn set() {}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn keep_small() {}
