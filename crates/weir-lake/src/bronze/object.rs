//! Names of objects: `<sequence>-<run>-<part>.jsonl.zst`, digits padded so that names sort in order.

use std::fmt;

/// Which checkpoint an object belongs to, and which part of it it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectName {
    pub(crate) sequence: u64,
    pub(crate) part: u32,
    pub(crate) run: String,
}

const SUFFIX: &str = ".jsonl.zst";

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}-{}-{:04}{SUFFIX}", self.sequence, self.run, self.part)
    }
}

impl ObjectName {
    /// None for a name that is not ours; such objects are left alone.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (sequence, rest) = name.strip_suffix(SUFFIX)?.split_once('-')?;
        let (run, part) = rest.rsplit_once('-')?;
        Some(Self {
            sequence: sequence.parse().ok()?,
            part: part.parse().ok()?,
            run: run.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_sort_by_sequence_then_part() {
        let name = |sequence, part| ObjectName {
            sequence,
            part,
            run: "0193-ab-cd".to_owned(),
        };
        let text = name(12, 3).to_string();
        assert_eq!(text, "0000000012-0193-ab-cd-0003.jsonl.zst");
        assert_eq!(ObjectName::parse(&text), Some(name(12, 3)));
        assert!(name(2, 9) < name(10, 0));
        assert_eq!(ObjectName::parse("README.md"), None);
    }
}
