//! The demo's data: which issues and comments there are, and when they were made and changed.
//!
//! Everything follows from a number, so the set is the same on every machine. It exists in two
//! epochs: as the first sync finds it, and as the second one does.

use super::dice::below;

pub(crate) const ISSUES: u64 = 10_000;
pub(crate) const COMMENTS: u64 = 30_000;
/// The vendor's issue list holds pull requests as well; the connector leaves them out.
pub(crate) const PULLS: u64 = 300;
/// What the second epoch changes and adds.
pub(crate) const CHANGED: u64 = 300;
pub(crate) const ADDED: u64 = 200;
pub(crate) const COMMENTS_ADDED: u64 = 500;
/// Records of the second epoch that do not fit the schema; they are among the added ones.
pub(crate) const BAD: [(u64, Bad); 4] = [
    (10_311, Bad::TextId),
    (10_360, Bad::NoId),
    (10_411, Bad::BrokenTime),
    (10_470, Bad::TextCount),
];

/// How a record of the demo is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    TextId,
    NoId,
    BrokenTime,
    TextCount,
}

/// As the server was when it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Epoch {
    First,
    Second,
}

/// 2023-01-01T00:00:00Z
const START_S: i64 = 1_672_531_200;
/// 2025-10-31T00:00:00Z: nothing of the first epoch is later.
const END_S: i64 = 1_761_868_800;
const DAY_S: u64 = 86_400;
/// 2025-11-10T08:00:00Z: everything of the second epoch is later.
const SECOND_S: i64 = 1_762_761_600;
const NUMBERS: u64 = ISSUES + PULLS;

/// What is known of an issue (or pull request) without its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Issue {
    pub(crate) number: u64,
    pub(crate) created_s: i64,
    pub(crate) updated_s: i64,
    pub(crate) closed_s: Option<i64>,
    pub(crate) comments: u32,
    pub(crate) is_pull: bool,
    /// Whether the record has the field that the second epoch brings.
    pub(crate) has_priority: bool,
    pub(crate) bad: Option<Bad>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Comment {
    pub(crate) id: u64,
    pub(crate) issue: u64,
    pub(crate) created_s: i64,
    pub(crate) updated_s: i64,
}

/// One epoch's data, with the orders in which it is listed.
pub(crate) struct Dataset {
    /// By number.
    pub(crate) issues: Vec<Issue>,
    /// By id.
    pub(crate) comments: Vec<Comment>,
    /// Places in `issues` by (updated, number).
    pub(crate) issues_by_update: Vec<usize>,
    /// Places in `comments` by (updated, id).
    pub(crate) comments_by_update: Vec<usize>,
    /// Places in `comments` by issue.
    pub(crate) comments_of: Vec<Vec<usize>>,
}

impl Dataset {
    pub(crate) fn new(epoch: Epoch) -> Self {
        let mut issues: Vec<Issue> = (1..=NUMBERS).map(first_issue).collect();
        let mut comments: Vec<Comment> = (0..COMMENTS).map(|n| first_comment(n, &issues)).collect();
        if epoch == Epoch::Second {
            issues.extend((1..=ADDED).map(added_issue));
            for n in 0..COMMENTS_ADDED {
                comments.push(added_comment(n, &issues));
            }
        }
        let mut comments_of = vec![Vec::new(); issues.len()];
        for (place, comment) in comments.iter().enumerate() {
            let at = place_of(comment.issue);
            comments_of[at].push(place);
            let issue = &mut issues[at];
            issue.comments += 1;
            if epoch == Epoch::First || comment.created_s < SECOND_S {
                issue.updated_s = issue.updated_s.max(comment.created_s);
            }
        }
        if epoch == Epoch::Second {
            (0..CHANGED).for_each(|n| change(&mut issues, n));
        }
        let mut issues_by_update: Vec<usize> = (0..issues.len()).collect();
        issues_by_update.sort_by_key(|place| (issues[*place].updated_s, issues[*place].number));
        let mut comments_by_update: Vec<usize> = (0..comments.len()).collect();
        comments_by_update.sort_by_key(|place| (comments[*place].updated_s, comments[*place].id));
        Self {
            issues,
            comments,
            issues_by_update,
            comments_by_update,
            comments_of,
        }
    }
}

fn place_of(number: u64) -> usize {
    usize::try_from(number.saturating_sub(1)).unwrap_or(0)
}

/// Seconds after a moment, at most so many days later, and before the end of the first epoch.
fn later(from_s: i64, days_max: u64, salt: u64, n: u64) -> i64 {
    let left = u64::try_from(END_S - from_s - 60).unwrap_or(0);
    let span = below(salt, n, (days_max * DAY_S).min(left).max(1));
    from_s + i64::try_from(span).unwrap_or(0)
}

fn first_issue(number: u64) -> Issue {
    let span_s = END_S - START_S - i64::try_from(2 * DAY_S).unwrap_or(0);
    let numbers = i64::try_from(NUMBERS).unwrap_or(1);
    let created_s = START_S
        + span_s * i64::try_from(number - 1).unwrap_or(0) / numbers
        + i64::try_from(below(10, number, 3_600)).unwrap_or(0);
    // Recent issues are less often closed than old ones.
    let age = 100 - (number * 60 / NUMBERS);
    let stays_s = 60 + i64::try_from(below(12, number, 45 * DAY_S)).unwrap_or(0);
    let closed_s = (below(11, number, 100) < age)
        .then_some(created_s + stays_s)
        .filter(|closed_s| *closed_s < END_S);
    Issue {
        number,
        created_s,
        updated_s: closed_s.unwrap_or(created_s),
        closed_s,
        comments: 0,
        is_pull: number.is_multiple_of(NUMBERS / PULLS) && number / (NUMBERS / PULLS) <= PULLS,
        has_priority: false,
        bad: None,
    }
}

fn first_comment(n: u64, issues: &[Issue]) -> Comment {
    // A third of the comments gathers on a tenth of the issues.
    let mut issue = 1 + below(20, n, NUMBERS);
    if n.is_multiple_of(3) {
        issue = 1 + (issue - 1) / 10 * 10;
    }
    let created_s = later(issues[place_of(issue)].created_s, 45, 21, n);
    let edited = below(23, n, 12) == 0;
    Comment {
        id: 1_500_000_000 + n * 7,
        issue,
        created_s,
        updated_s: if edited {
            later(created_s, 3, 24, n)
        } else {
            created_s
        }
        .max(created_s),
    }
}

/// The n-th issue that the second epoch adds.
fn added_issue(n: u64) -> Issue {
    let number = NUMBERS + n;
    let created_s = SECOND_S + i64::try_from(n * 600).unwrap_or(0);
    Issue {
        number,
        created_s,
        updated_s: created_s,
        closed_s: None,
        comments: 0,
        is_pull: false,
        has_priority: true,
        bad: BAD.iter().find(|(bad, _)| *bad == number).map(|(_, bad)| *bad),
    }
}

fn added_comment(n: u64, issues: &[Issue]) -> Comment {
    let place = issues.len() - 1 - usize::try_from(below(30, n, ADDED)).unwrap_or(0);
    let issue = &issues[place];
    let created_s = SECOND_S.max(issue.created_s) + 30 + i64::try_from(n * 240).unwrap_or(0);
    Comment {
        id: 1_500_000_000 + (COMMENTS + n) * 7,
        issue: issue.number,
        created_s,
        updated_s: created_s,
    }
}

/// Closes or reopens an issue of the first epoch: every 33rd number, pull requests aside.
fn change(issues: &mut [Issue], n: u64) {
    let mut place = place_of(1 + n * 33);
    while issues[place].is_pull {
        place += 1;
    }
    let issue = &mut issues[place];
    let at = SECOND_S + 7 + i64::try_from(n * 401).unwrap_or(0);
    issue.closed_s = if issue.closed_s.is_some() { None } else { Some(at) };
    issue.updated_s = at;
    issue.has_priority = true;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_first_epoch_is_what_the_demo_says() {
        let data = Dataset::new(Epoch::First);
        assert_eq!(
            data.issues.iter().filter(|issue| !issue.is_pull).count() as u64,
            ISSUES
        );
        assert_eq!(
            data.issues.iter().filter(|issue| issue.is_pull).count() as u64,
            PULLS
        );
        assert_eq!(data.comments.len() as u64, COMMENTS);
        assert!(
            data.issues
                .iter()
                .all(|issue| issue.updated_s < END_S && issue.updated_s >= issue.created_s)
        );
        assert!(
            data.issues
                .iter()
                .all(|issue| issue.closed_s.is_none_or(|closed| closed >= issue.created_s))
        );
        let sum: u32 = data.issues.iter().map(|issue| issue.comments).sum();
        assert_eq!(u64::from(sum), COMMENTS);
        assert!(data.issues.iter().any(|issue| issue.comments > 20));
    }

    #[test]
    fn the_second_epoch_changes_and_adds_what_it_says() {
        let (first, second) = (Dataset::new(Epoch::First), Dataset::new(Epoch::Second));
        let newer: BTreeSet<u64> = second
            .issues
            .iter()
            .filter(|issue| issue.updated_s >= SECOND_S)
            .map(|issue| issue.number)
            .collect();
        assert_eq!(newer.len() as u64, CHANGED + ADDED);
        assert_eq!(
            second.issues.len() - first.issues.len(),
            usize::try_from(ADDED).unwrap()
        );
        assert_eq!(
            second.issues.iter().filter(|issue| issue.bad.is_some()).count(),
            BAD.len()
        );
        assert_eq!(
            second.comments.len() - first.comments.len(),
            usize::try_from(COMMENTS_ADDED).unwrap()
        );
        let newer = second
            .comments
            .iter()
            .filter(|comment| comment.updated_s >= SECOND_S)
            .count();
        assert_eq!(newer as u64, COMMENTS_ADDED);
    }
}
