//! How much memory the C library's allocator keeps for itself.

/// Has the allocator share its pools between threads. By default it may open eight for each core,
/// and each keeps what was freed in it: half of the memory of a large merge was such.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn share_pools() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let pools = i32::try_from(cores / 2).unwrap_or(i32::MAX).max(1);
    #[expect(
        unsafe_code,
        reason = "the only way to set this; called before any other thread exists, and it cannot fail harmfully"
    )]
    // SAFETY: mallopt takes two integers and only changes settings of the allocator.
    let _refused = unsafe { libc::mallopt(libc::M_ARENA_MAX, pools) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn share_pools() {}
