//! No picture of this process' memory, which holds secrets in the clear, is written to a disk.

/// Forbids core dumps, by limit and by mark: a handler that the kernel pipes dumps into looks at the mark alone.
#[cfg(target_os = "linux")]
pub(crate) fn forbid() {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    #[expect(
        unsafe_code,
        reason = "the only way to set these; called before any other thread exists, and neither can fail harmfully"
    )]
    // SAFETY: setrlimit reads one structure that outlives the call; prctl takes integers alone here.
    let _refused = unsafe {
        (
            libc::setrlimit(libc::RLIMIT_CORE, &raw const none),
            libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0),
        )
    };
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn forbid() {}
