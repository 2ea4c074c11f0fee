//! Slices that are too many to keep the cursor of each: those with near cursors share the lowest of theirs.

use std::cmp::Ordering;
use std::collections::HashMap;

use serde_json::Value;
use weir_protocol::state::{SliceDigest, SliceGroup};

use crate::cursor::Point;

/// More groups read less twice, and take more of the state.
const GROUPS_MAX: usize = 50;
/// Slices kept that the last read did not see. One that was forgotten is read from the stream's start.
const UNREAD_MAX: usize = 4_000;

/// A slice of which something is known.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) point: Point,
    /// The same, as the source wrote it.
    pub(super) cursor: Value,
    /// By the read that just ended.
    pub(super) is_read: bool,
}

/// Parts the slices by their cursors. Those that were read and are `empty` go with the oldest: they have none of their
/// own, and would be read from the stream's start by each read.
pub(super) fn of(members: HashMap<SliceDigest, Member>, empty: Vec<SliceDigest>) -> Vec<SliceGroup> {
    let mut members: Vec<(SliceDigest, Member)> = members.into_iter().collect();
    let newest = members
        .iter()
        .map(|(_, member)| &member.point)
        .max_by(|a, b| order(a, b))
        .cloned();
    // Cursors of another kind are left from another format; they do not compare with the others.
    members.retain(|(_, member)| {
        newest
            .as_ref()
            .is_some_and(|newest| member.point.compare(newest).is_some())
    });
    members.sort_by(|(a_digest, a), (b_digest, b)| order(&b.point, &a.point).then(a_digest.cmp(b_digest)));
    let mut unread = 0;
    members.retain(|(_, member)| {
        unread += usize::from(!member.is_read);
        member.is_read || unread <= UNREAD_MAX
    });
    let mut groups: Vec<SliceGroup> = Vec::new();
    for part in members.chunks(members.len().div_ceil(GROUPS_MAX).max(1)) {
        let Some((_, oldest)) = part.last() else { continue };
        let slices = part.iter().map(|(digest, _)| *digest);
        match groups.last_mut().filter(|group| group.cursor == oldest.cursor) {
            Some(group) => group.slices = group.slices.iter().chain(slices).collect(),
            None => groups.push(SliceGroup {
                cursor: oldest.cursor.clone(),
                slices: slices.collect(),
            }),
        }
    }
    if let Some(oldest) = groups.last_mut() {
        oldest.slices = oldest.slices.iter().chain(empty).collect();
    }
    groups
}

/// Points of one kind as they are, the kinds one after the other.
fn order(a: &Point, b: &Point) -> Ordering {
    let kind = |point: &Point| match point {
        Point::Integer(_) => 0,
        Point::Text(_) => 1,
        Point::Instant(_) => 2,
    };
    a.compare(b).unwrap_or_else(|| kind(a).cmp(&kind(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: i64, is_read: impl Fn(i64) -> bool) -> HashMap<SliceDigest, Member> {
        let member = |id: i64| Member {
            point: Point::Integer(id.into()),
            cursor: id.into(),
            is_read: is_read(id),
        };
        (0..count).map(|id| (digest(id), member(id))).collect()
    }

    fn digest(id: i64) -> SliceDigest {
        SliceDigest::of(&id.to_string())
    }

    #[test]
    fn no_slice_is_said_to_be_complete_beyond_its_cursor() {
        for count in [0, 1, 49, 50, 51, 201, 5_000] {
            let groups = of(members(count, |_| true), Vec::new());
            assert!(groups.len() <= GROUPS_MAX);
            for id in 0..count {
                let of = groups.iter().filter(|group| group.slices.contains(&digest(id)));
                let cursors: Vec<i64> = of.map(|group| group.cursor.as_i64().unwrap()).collect();
                let [cursor] = cursors[..] else {
                    panic!("{id} is in {cursors:?}")
                };
                assert!(
                    cursor <= id && id - cursor <= count / 50 + 1,
                    "{id} is read from {cursor}"
                );
            }
        }
    }

    #[test]
    fn equal_cursors_are_one_group() {
        let mut all = members(300, |_| true);
        for member in all.values_mut() {
            member.cursor = 7.into();
            member.point = Point::Integer(7);
        }
        let groups = of(all, Vec::new());
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].slices.len(), 300);
    }

    #[test]
    fn slices_that_were_not_read_are_forgotten_from_the_oldest_on() {
        let groups = of(members(10_000, |id| id % 2 == 0), Vec::new());
        let kept = |id: i64| groups.iter().any(|group| group.slices.contains(&digest(id)));
        assert!((0..10_000).step_by(2).all(kept), "those that were read");
        assert_eq!((0..10_000).filter(|id| kept(*id)).count(), 5_000 + UNREAD_MAX);
        assert!(kept(9_999) && !kept(1));
    }

    #[test]
    fn slices_without_records_go_with_the_oldest() {
        let groups = of(members(300, |_| true), vec![digest(1_000)]);
        let oldest = groups.last().unwrap();
        assert!(oldest.slices.contains(&digest(1_000)) && oldest.cursor == 0);
        assert!(of(HashMap::new(), vec![digest(1)]).is_empty());
    }

    #[test]
    fn cursors_of_another_kind_are_left_out() {
        let mut all = members(10, |_| true);
        all.get_mut(&digest(3)).unwrap().point = Point::Text("3".to_owned());
        let groups = of(all, Vec::new());
        let kept = groups.iter().map(|group| group.slices.len()).sum::<usize>();
        assert!(kept == 9 || kept == 1, "{groups:?}");
    }
}
