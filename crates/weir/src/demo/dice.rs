//! Numbers that look random and are the same on every machine and at every run.

/// A number for one question (`salt`) about one thing (`n`).
pub(crate) fn roll(salt: u64, n: u64) -> u64 {
    // SplitMix64: every bit of the answer depends on every bit of the question.
    let mut z = n
        .wrapping_add(salt.wrapping_mul(0xD134_2543_DE82_EF95))
        .wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A number from 0 to below `bound`.
pub(crate) fn below(salt: u64, n: u64, bound: u64) -> u64 {
    roll(salt, n) % bound
}

/// One of these.
pub(crate) fn pick<'a>(salt: u64, n: u64, from: &[&'a str]) -> &'a str {
    let at = usize::try_from(below(salt, n, from.len() as u64)).unwrap_or(0);
    from[at]
}
