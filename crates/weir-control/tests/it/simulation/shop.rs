//! The simulated outside system: what it has, what it ever had, and how it changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::dice::Dice;

/// How much the cursor may lie behind the newest one where records come late.
pub(super) const LOOKBACK: u64 = 6;
/// These are never changed, deleted or wrong: every whole read has them.
pub(super) const IMMORTAL: u64 = 2;

/// How a record is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Plain,
    /// With a field that the schema does not name.
    Note,
    /// With a text where a number belongs: no schema takes it.
    Wrong,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) id: u64,
    /// The cursor.
    pub(super) at: u64,
    /// Tells each version of each item from all others.
    pub(super) version: u64,
    pub(super) shape: Shape,
}

impl Item {
    pub(super) fn json(&self) -> Value {
        let part = ["a", "b", "c"][usize::try_from(self.id % 3).unwrap()];
        let mut json = json!({"id": self.id, "at": self.at, "version": self.version, "part": part, "total": self.id * 10});
        match self.shape {
            Shape::Plain => {}
            Shape::Note => json["note"] = json!(format!("n{}", self.version)),
            Shape::Wrong => json["total"] = json!("much"),
        }
        json
    }
}

#[derive(Debug)]
pub(super) struct Shop {
    pub(super) items: BTreeMap<u64, Item>,
    /// Every version that there ever was, by its number.
    pub(super) ever: BTreeMap<u64, Item>,
    /// Without a key the shop is a log: items are added, in the order of their cursors.
    pub(super) is_log: bool,
    /// Nothing changes after the beginning.
    pub(super) is_still: bool,
    pub(super) may_be_wrong: bool,
    pub(super) page_size: usize,
    pub(super) pages_per_advance: u64,
    pub(super) repeats_pages: bool,
    /// Pages that were given so far, over all reads.
    pub(super) given: u64,
    next_id: u64,
    newest: u64,
    has_notes: bool,
    dice: Dice,
}

pub(super) type Shared = Arc<Mutex<Shop>>;

impl Shop {
    pub(super) fn new(mut dice: Dice, is_log: bool, is_still: bool, may_be_wrong: bool) -> Self {
        let page_size = usize::try_from(dice.between(2, 5)).unwrap();
        let pages_per_advance = dice.between(1, 2);
        let repeats_pages = !is_log && !is_still && dice.percent(30);
        let count = dice.between(IMMORTAL + 1, 9);
        let mut shop = Self {
            items: BTreeMap::new(),
            ever: BTreeMap::new(),
            is_log,
            is_still: false,
            may_be_wrong,
            page_size,
            pages_per_advance,
            repeats_pages,
            given: 0,
            next_id: 1,
            newest: 10,
            has_notes: false,
            dice,
        };
        for _ in 0..count {
            shop.add();
        }
        shop.is_still = is_still;
        shop
    }

    fn put(&mut self, id: u64, at: u64) {
        let shape = match () {
            () if id <= IMMORTAL => Shape::Plain,
            () if self.may_be_wrong && self.dice.percent(12) => Shape::Wrong,
            () if self.has_notes && self.dice.percent(60) => Shape::Note,
            () => Shape::Plain,
        };
        let version = self.ever.len() as u64 + 1;
        let item = Item {
            id,
            at,
            version,
            shape,
        };
        self.ever.insert(version, item.clone());
        self.items.insert(id, item);
        self.newest = self.newest.max(at);
    }

    fn add(&mut self) {
        let id = self.next_id;
        self.next_id += 1;
        // Ties happen.
        let at = self.newest + self.dice.below(3).min(1);
        self.put(id, at);
    }

    fn mortal(&mut self) -> Option<u64> {
        let ids: Vec<u64> = self.items.keys().copied().filter(|id| *id > IMMORTAL).collect();
        (!ids.is_empty()).then(|| self.dice.pick(&ids))
    }

    /// Something happens. `may_be_late`: a record may come whose cursor others have passed already.
    pub(super) fn change(&mut self, may_be_late: bool) -> String {
        if self.is_still {
            return "nothing".to_owned();
        }
        let chance = self.dice.below(10);
        match chance {
            0 => {
                self.has_notes = true;
                "records get notes from now on".to_owned()
            }
            1 | 2 if !self.is_log => match self.mortal() {
                Some(id) => {
                    self.items.remove(&id);
                    format!("{id} is deleted")
                }
                None => "nothing".to_owned(),
            },
            3..=5 if !self.is_log => match self.mortal() {
                Some(id) => {
                    let at = self.newest + 1;
                    self.put(id, at);
                    format!("{id} is changed at {at}")
                }
                None => "nothing".to_owned(),
            },
            6 if !self.is_log && may_be_late => {
                let id = self.next_id;
                self.next_id += 1;
                let at = self.newest.saturating_sub(self.dice.below(LOOKBACK));
                self.put(id, at);
                format!("{id} comes late at {at}")
            }
            _ => {
                self.add();
                format!("{} is added at {}", self.next_id - 1, self.newest)
            }
        }
    }

    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// Whether this page is given once more before the next.
    pub(super) fn repeats(&mut self) -> bool {
        self.repeats_pages && self.dice.percent(20)
    }

    /// The next page of an incremental read: by cursor and id, after a place.
    pub(super) fn since(&self, first: u64, after: Option<(u64, u64)>) -> Vec<Item> {
        let mut items: Vec<&Item> = self.items.values().collect();
        items.sort_by_key(|item| (item.at, item.id));
        let ahead = items
            .into_iter()
            .filter(|item| item.at >= first && after.is_none_or(|after| (item.at, item.id) > after));
        ahead.take(self.page_size).cloned().collect()
    }

    /// The next page of a full read: by id.
    pub(super) fn all(&self, after: u64) -> Vec<Item> {
        let ahead = self.items.range(after + 1..).map(|(_, item)| item.clone());
        ahead.take(self.page_size).collect()
    }
}
