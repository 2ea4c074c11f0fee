//! Names of objects: `<sequence>-<run>-<part>.jsonl.zst`, digits padded so that names sort in order.

use std::fmt;

/// Which checkpoint an object belongs to, and which part of it it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectName {
    pub(crate) sequence: u64,
    pub(crate) part: u32,
    pub(crate) run: String,
}

/// Counts the objects of the checkpoint that is being written. A number that was not used up is gone
/// back to, and its count goes on: an object must not be written over.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    put: u32,
    before: Option<(u64, u32)>,
}

impl Parts {
    /// Objects of the present checkpoint so far.
    pub(crate) fn put(&self) -> u32 {
        self.put
    }

    /// The number of the next object.
    pub(crate) fn next(&mut self) -> u32 {
        let part = self.put;
        self.put += 1;
        part
    }

    /// Makes `next` the present checkpoint.
    pub(crate) fn turn(&mut self, sequence: &mut u64, next: u64) {
        if next == *sequence {
            return;
        }
        let put = match self.before {
            Some((number, put)) if number == next => put,
            _ => 0,
        };
        self.before = Some((*sequence, self.put));
        *sequence = next;
        self.put = put;
    }
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
    fn a_number_that_is_gone_back_to_counts_on() {
        let (mut parts, mut sequence) = (Parts::default(), 7);
        assert_eq!((parts.next(), parts.next()), (0, 1));
        parts.turn(&mut sequence, 8);
        parts.turn(&mut sequence, 7);
        assert_eq!((sequence, parts.next()), (7, 2));
        parts.turn(&mut sequence, 8);
        assert_eq!((sequence, parts.next()), (8, 0));
    }

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
