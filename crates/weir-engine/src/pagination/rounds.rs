//! Pages that come round again: a source that takes no heed of the page it is asked for, or that begins anew after the
//! last one, would else be read until the page limit.

/// Pages that look alike may be chance where records have no key: a round of several is believed the third time.
const ROUNDS_MIN: usize = 3;

/// The pages of one read since the last one without records, by digests of their records.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    pages: Vec<u64>,
    /// How many of the last pages repeat the one before them.
    same: usize,
    /// The page that later ones are compared with. It moves on, and so comes to lie within the round.
    anchor: usize,
    turn: Option<Turn>,
}

/// Pages that repeat those of one period before, as far as was seen.
#[derive(Debug, Clone, Copy)]
struct Turn {
    period: usize,
    pages: usize,
}

impl Rounds {
    /// Notes a page; None for one without records, after which all begins anew. The number of pages after which they
    /// come round: one once a page was the same `repeats` times more, or several after [`ROUNDS_MIN`] rounds.
    pub(crate) fn goes_round(&mut self, page: Option<u64>, repeats: usize) -> Option<usize> {
        let Some(page) = page else {
            *self = Self::default();
            return None;
        };
        let at = self.pages.len();
        self.same = if self.pages.last() == Some(&page) {
            self.same + 1
        } else {
            0
        };
        self.turn = self.follow(at, page);
        if self.turn.is_none() && at.is_power_of_two() {
            self.anchor = at;
        }
        self.pages.push(page);
        if self.same >= repeats {
            return Some(1);
        }
        let turn = self.turn?;
        let is_round = turn.period > 1 && turn.pages >= turn.period.saturating_mul(ROUNDS_MIN.max(repeats));
        is_round.then_some(turn.period)
    }

    fn follow(&self, at: usize, page: u64) -> Option<Turn> {
        let goes_on = |turn: &Turn| self.pages.get(at - turn.period) == Some(&page);
        if let Some(turn) = self.turn.filter(goes_on) {
            let pages = turn.pages + 1;
            return Some(Turn { pages, ..turn });
        }
        (self.pages.get(self.anchor) == Some(&page)).then(|| Turn {
            period: at - self.anchor,
            pages: 1,
        })
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
