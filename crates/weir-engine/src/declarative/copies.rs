//! Records that are alike, told apart by their number: without a key, three that say the same are three.

use std::collections::HashMap;

/// How often each digest came in a read.
#[derive(Debug, Default)]
pub(crate) struct Copies(HashMap<String, usize>);

impl Copies {
    /// What the next record of this digest is called: the first one like the digest.
    pub(crate) fn next(&mut self, digest: String) -> String {
        let count = self.0.entry(digest.clone()).or_default();
        *count += 1;
        match *count {
            1 => digest,
            count => format!("{digest}#{count}"),
        }
    }
}
