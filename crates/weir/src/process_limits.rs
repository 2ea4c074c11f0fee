//! Limits that a process sets on itself before it touches what others made.

/// Bytes of memory that a process which reads a document may map, its program included.
#[cfg(target_os = "linux")]
const MEMORY_BYTES: libc::rlim_t = 1536 << 20;
/// Seconds of processor time of it, and of each program that it starts.
#[cfg(target_os = "linux")]
const CPU_SECONDS: libc::rlim_t = 120;
/// Bytes of a file that it writes.
#[cfg(target_os = "linux")]
const FILE_BYTES: libc::rlim_t = 64 << 20;

/// Bounds memory, processor time and files of this process and of what it starts.
#[cfg(target_os = "linux")]
pub(crate) fn bound() -> std::io::Result<()> {
    let limits = [
        (libc::RLIMIT_AS, MEMORY_BYTES),
        (libc::RLIMIT_CPU, CPU_SECONDS),
        (libc::RLIMIT_FSIZE, FILE_BYTES),
    ];
    for (resource, most) in limits {
        let limit = libc::rlimit {
            rlim_cur: most,
            rlim_max: most,
        };
        #[expect(unsafe_code, reason = "the only way to set these")]
        // SAFETY: setrlimit reads one structure that outlives the call.
        let refused = unsafe { libc::setrlimit(resource, &raw const limit) };
        if refused != 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Elsewhere only the time is bounded, by whoever started it.
#[cfg(not(target_os = "linux"))]
pub(crate) fn bound() -> std::io::Result<()> {
    Ok(())
}
