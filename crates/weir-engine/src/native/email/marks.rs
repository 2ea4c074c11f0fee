//! How far a folder is read, and what to do where it is not the folder any more that was read.

use serde_json::{Value, json};

/// A place in a folder: the newest UID that was read, and under which UIDVALIDITY it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) validity: u32,
    pub(super) uid: u32,
}

/// What a page tells of the folder that it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is the one that was asked for.
    Same,
    /// UIDs were given anew, so that those that were read name other messages: all of it is read again.
    Anew { was: u32 },
}

impl Mark {
    /// As a slice's state keeps it. None where it is no such thing: then all is read again, which is harmless.
    pub(super) fn of(cursor: &Value) -> Option<Self> {
        let number = |name: &str| {
            cursor[name]
                .as_u64()
                .and_then(|number| u32::try_from(number).ok())
        };
        Some(Self {
            validity: number("uidvalidity")?,
            uid: number("uid")?,
        })
    }

    pub(super) fn cursor(self) -> Value {
        json!({ "uidvalidity": self.validity, "uid": self.uid })
    }
}

/// Looks at what a folder says of itself: its UIDVALIDITY, and the UID that its next message gets.
pub(super) fn turn(mark: Option<Mark>, validity: u32, next: u32) -> Turn {
    match mark {
        Some(mark) if mark.validity != validity => Turn::Anew { was: mark.validity },
        // It may not count backwards; one that does was begun anew without saying so.
        Some(mark) if next <= mark.uid => Turn::Anew { was: mark.validity },
        _ => Turn::Same,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn another_validity_reads_the_folder_again() {
        let mark = Some(Mark { validity: 7, uid: 40 });
        assert_eq!(turn(None, 7, 1), Turn::Same);
        assert_eq!(turn(mark, 7, 41), Turn::Same);
        assert_eq!(turn(mark, 8, 41), Turn::Anew { was: 7 });
        assert_eq!(turn(mark, 7, 40), Turn::Anew { was: 7 });
    }

    #[test]
    fn a_mark_survives_being_stored_and_nonsense_is_none() {
        let mark = Mark {
            validity: u32::MAX,
            uid: 1,
        };
        assert_eq!(Mark::of(&mark.cursor()), Some(mark));
        for cursor in [
            json!(3),
            json!({}),
            json!({ "uidvalidity": -1, "uid": 2 }),
            json!({ "uid": 2 }),
        ] {
            assert_eq!(Mark::of(&cursor), None);
        }
    }

    /// What happens to a folder between two reads.
    #[derive(Debug, Clone)]
    enum Event {
        Arrive(u8),
        Expunge(usize),
        /// UIDs are given anew, from 1 on.
        Rebuild,
        Read,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (1_u8..5).prop_map(Event::Arrive),
            any::<usize>().prop_map(Event::Expunge),
            Just(Event::Rebuild),
            Just(Event::Read),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_between_reads_no_message_is_missed(events in prop::collection::vec(event(), 1..60)) {
            // Messages that are there: (uid, what it is).
            let (mut there, mut next, mut validity, mut count) = (Vec::<(u32, u64)>::new(), 1_u32, 1_u32, 0_u64);
            let (mut mark, mut seen) = (None::<Mark>, BTreeSet::new());
            for event in events.into_iter().chain([Event::Read]) {
                match event {
                    Event::Arrive(more) => for _ in 0..more {
                        there.push((next, count));
                        (next, count) = (next + 1, count + 1);
                    },
                    Event::Expunge(at) => if !there.is_empty() {
                        let at = at % there.len();
                        there.remove(at);
                    },
                    Event::Rebuild => {
                        validity += 1;
                        for (index, (uid, _)) in there.iter_mut().enumerate() {
                            *uid = u32::try_from(index).unwrap() + 1;
                        }
                        next = u32::try_from(there.len()).unwrap() + 1;
                    }
                    Event::Read => {
                        let from = match (turn(mark, validity, next), mark) {
                            (Turn::Same, Some(mark)) => mark.uid,
                            _ => 0,
                        };
                        seen.extend(there.iter().filter(|(uid, _)| *uid > from).map(|(_, what)| *what));
                        mark = Some(Mark { validity, uid: next - 1 });
                        prop_assert!(there.iter().all(|(_, what)| seen.contains(what)));
                    }
                }
            }
        }
    }
}
