//! Pages that come round again: a source that takes no heed of the page it is asked for, or that begins anew after the
//! last one, would else be read until the page limit.

/// Pages that look alike may be chance where records have no key: a round of several is believed the third time.
const ROUNDS_MIN: usize = 3;

/// The pages of one read since the last one without records, by digests of their records.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    count: usize,
    /// How many of the last pages repeat the one before them.
    same: usize,
    /// From some page on: what comes before a round is left behind as the count doubles.
    pages: Vec<u64>,
    /// Of as many of them as its place says: how many of the first are also the last.
    borders: Vec<usize>,
}

impl Rounds {
    /// Notes a page; None for one without records, after which all begins anew. The number of pages after which they
    /// come round: one once a page was the same `repeats` times more, or several after [`ROUNDS_MIN`] rounds more.
    pub(crate) fn goes_round(&mut self, page: Option<u64>, repeats: usize) -> Option<usize> {
        let Some(page) = page else {
            *self = Self::default();
            return None;
        };
        let is_same = self.pages.last() == Some(&page);
        self.same = if is_same { self.same + 1 } else { 0 };
        self.count += 1;
        if self.count.is_power_of_two() && self.pages.len() < 2 * self.period() {
            self.pages.clear();
            self.borders.clear();
        }
        self.push(page);
        if self.same >= repeats {
            return Some(1);
        }
        let period = self.period();
        let rounds = ROUNDS_MIN.max(repeats);
        (period > 1 && self.pages.len() > period.saturating_mul(rounds)).then_some(period)
    }

    /// The shortest distance at which all pages repeat.
    fn period(&self) -> usize {
        self.pages.len() - self.borders.last().copied().unwrap_or(0)
    }

    /// As Knuth, Morris and Pratt follow a pattern.
    fn push(&mut self, page: u64) {
        let mut border = self.borders.last().copied().unwrap_or(0);
        while border > 0 && self.pages[border] != page {
            border = self.borders[border - 1];
        }
        let goes_on = self.pages.get(border) == Some(&page);
        self.pages.push(page);
        self.borders.push(border + usize::from(goes_on));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The page at which `pages` are seen to go round, and after how many; `.` stands for one without records.
    fn seen(pages: &str, repeats: usize) -> Option<(usize, usize)> {
        let mut read = Rounds::default();
        pages.bytes().enumerate().find_map(|(at, page)| {
            let page = (page != b'.').then_some(u64::from(page));
            Some((at, read.goes_round(page, repeats)?))
        })
    }

    #[test]
    fn a_page_that_stays_is_seen_at_once() {
        assert_eq!(seen("XYAA", 1), Some((3, 1)));
        assert_eq!(seen("AAAA", 3), Some((3, 1)));
        assert_eq!(seen("AAABAAB", 3), None);
    }

    #[test]
    fn chance_is_no_round() {
        for pages in [
            "ABCDEF",
            "ABABAB",
            "ABCABCABC",
            "....",
            "A.A.A.A.A.A",
            "AB.AB.AB.AB.AB",
        ] {
            assert_eq!(seen(pages, 1), None, "{pages}");
        }
    }

    proptest! {
        #[test]
        fn every_round_is_found(
            before in "[x-z]{0,20}",
            round in "[A-F]{2,12}",
            repeats in 1usize..5,
        ) {
            let pages = format!("{before}{}", round.repeat(60));
            let (at, _) = seen(&pages, repeats).unwrap();

            prop_assert!(at < pages.len());
        }
    }
}
