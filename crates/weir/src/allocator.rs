//! How much memory the C library's allocator keeps for itself.

/// A buffer of more bytes is the system's own pages, given back as soon as it is freed.
const LARGE_BYTES: i32 = 4 << 20;
/// So much may be free at the end of a pool before it is given back.
const FREE_BYTES_MAX: i32 = 64 << 20;
/// A pool grows by so much more than is asked for.
const GROWTH_BYTES: i32 = 2 << 20;

/// Has the allocator share its pools between threads, and keep large buffers out of them. By default it may open eight
/// pools for each core, each of which keeps what was freed in it: half of the memory of a large merge was such. And it
/// takes larger and larger buffers into them, which leave holes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn set() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let pools = i32::try_from(cores / 2).unwrap_or(i32::MAX).max(1);
    let settings = [
        (libc::M_ARENA_MAX, pools),
        (libc::M_MMAP_THRESHOLD, LARGE_BYTES),
        (libc::M_TRIM_THRESHOLD, FREE_BYTES_MAX),
        (libc::M_TOP_PAD, GROWTH_BYTES),
    ];
    for (setting, value) in settings {
        #[expect(
            unsafe_code,
            reason = "the only way to set this; called before any other thread exists, and it cannot fail harmfully"
        )]
        // SAFETY: mallopt takes two integers and only changes settings of the allocator.
        let _refused = unsafe { libc::mallopt(setting, value) };
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn set() {}
