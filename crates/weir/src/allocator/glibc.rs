//! What the GNU C library's allocator is told to keep, and asked to give back.

use std::thread::{Builder, available_parallelism, sleep};
use std::time::Duration;

/// A buffer of more bytes is the system's own pages, given back as soon as it is freed.
const LARGE_BYTES: i32 = 4 << 20;
/// So much may be free at the end of a pool before it is given back.
const FREE_BYTES_MAX: i32 = 64 << 20;
/// A pool grows by so much more than is asked for.
const GROWTH_BYTES: i32 = 2 << 20;
/// Between two looks at how much memory the program has.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Giving back costs the system's time: it is worth it when the program has grown by so much since the last time.
const GROWN_KIB_MIN: u64 = 8 << 10;
/// After so many looks without such growth what was freed meanwhile is given back too, once.
const QUIET_LOOKS: u64 = 10;

/// Has the allocator share its pools between threads, and keep large buffers out of them. By default it may open eight
/// pools for each core, each of which keeps what was freed in it: half of the memory of a large merge was such. And it
/// takes larger and larger buffers into them, which leave holes.
pub(crate) fn set() {
    let cores = available_parallelism().map_or(1, usize::from);
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

/// Gives back what was freed between what is held, for as long as the program runs: the allocator by itself gives back
/// the end of a pool alone, so that a long load took more and more, and a server kept what its largest run had taken.
pub(crate) fn keep_small() {
    let watched = Builder::new().name("weir-memory".to_owned()).spawn(|| {
        let (mut least_kib, mut quiet) = (0, 0_u64);
        loop {
            sleep(LOOK_EVERY);
            let Some(now_kib) = held_kib() else { break };
            let has_grown = now_kib > least_kib + GROWN_KIB_MIN;
            quiet = if has_grown { 0 } else { quiet + 1 };
            least_kib = if has_grown || quiet == QUIET_LOOKS {
                give_back();
                held_kib().unwrap_or(now_kib)
            } else {
                now_kib.min(least_kib)
            };
        }
    });
    if let Err(error) = watched {
        tracing::debug!(%error, "no thread to give memory back; the program may keep more than it needs");
    }
}

/// Memory of the program's own that is in place, without the pages of files.
fn held_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn give_back() {
    #[expect(unsafe_code, reason = "the only way to ask for it")]
    // SAFETY: malloc_trim takes an integer, locks each pool while it looks at it, and touches only what is free.
    let _given = unsafe { libc::malloc_trim(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_freed_between_what_is_held_is_given_back() {
        let mut parts: Vec<Vec<u8>> = (0..64 << 10).map(|_| vec![1; 1 << 10]).collect();
        let before = held_kib().unwrap();
        let mut place = 0;
        parts.retain(|_| {
            place += 1;
            place % 64 == 0
        });
        give_back();
        let after = held_kib().unwrap();
        assert_eq!(parts.len(), 1 << 10);
        assert!(after + (32 << 10) < before, "{before} KiB before, {after} after");
    }
}
