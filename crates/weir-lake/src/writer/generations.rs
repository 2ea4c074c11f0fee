//! The full refreshes that a table went through, as they stand in its state: a state is in every
//! commit, so those of one kind share what they have in common.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use weir_protocol::SyncMode;

/// Generations that are remembered for a rebuild; Bronze older than these is archived long before.
const GENERATIONS_MAX: usize = 1_000;

/// One published full refresh: the checkpoints it was read in, and when it was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Generation {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Microseconds since the epoch: the time that vanished rows were marked with.
    pub(crate) at: i64,
    pub(crate) mode: SyncMode,
    /// Whether rows that it lacked were marked as vanished.
    #[serde(default)]
    pub(crate) vanish: bool,
    /// Whether it brought no record at all, and so left nothing in Bronze.
    #[serde(default)]
    pub(crate) empty: bool,
}

/// Generations one after the other that differ in nothing but these numbers.
#[derive(Serialize, Deserialize)]
struct Kin {
    mode: SyncMode,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    vanish: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    empty: bool,
    /// From, to, at.
    each: Vec<(u64, u64, i64)>,
}

/// As it is read: older states have each generation written out.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Kin(Kin),
    One(Generation),
}

/// Adds one, and forgets the oldest beyond the limit.
pub(crate) fn remember(generations: &mut Vec<Generation>, generation: Generation) {
    generations.push(generation);
    let surplus = generations.len().saturating_sub(GENERATIONS_MAX);
    generations.drain(..surplus);
}

pub(crate) fn serialize<S: Serializer>(generations: &[Generation], serializer: S) -> Result<S::Ok, S::Error> {
    let mut kin: Vec<Kin> = Vec::new();
    for one in generations {
        let each = (one.from, one.to, one.at);
        match kin.last_mut() {
            Some(last) if (last.mode, last.vanish, last.empty) == (one.mode, one.vanish, one.empty) => {
                last.each.push(each);
            }
            _ => kin.push(Kin {
                mode: one.mode,
                vanish: one.vanish,
                empty: one.empty,
                each: vec![each],
            }),
        }
    }
    kin.serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Generation>, D::Error> {
    let stored = Vec::<Stored>::deserialize(deserializer)?;
    let mut generations = Vec::new();
    for stored in stored {
        match stored {
            Stored::One(generation) => generations.push(generation),
            Stored::Kin(kin) => {
                let each = kin.each.iter();
                generations.extend(each.map(|(from, to, at)| Generation {
                    from: *from,
                    to: *to,
                    at: *at,
                    mode: kin.mode,
                    vanish: kin.vanish,
                    empty: kin.empty,
                }));
            }
        }
    }
    Ok(generations)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Holder {
        #[serde(with = "super")]
        generations: Vec<Generation>,
    }

    fn generation(number: u64, empty: bool) -> Generation {
        Generation {
            from: number * 3,
            to: number * 3 + 2,
            at: 1_795_000_000_000_000 + i64::try_from(number).unwrap(),
            mode: SyncMode::FullRefreshMerge,
            vanish: true,
            empty,
        }
    }

    #[test]
    fn ten_thousand_full_refreshes_fit_a_small_state() {
        let mut generations = Vec::new();
        for number in 0..10_000 {
            remember(&mut generations, generation(number, number % 100 == 0));
        }
        let holder = Holder { generations };
        let text = serde_json::to_string(&holder).unwrap();
        assert!(text.len() < 48 << 10, "{} bytes", text.len());
        assert_eq!(serde_json::from_str::<Holder>(&text).unwrap(), holder);
        assert_eq!(holder.generations.last(), Some(&generation(9_999, false)));
    }

    #[test]
    fn states_of_before_are_read() {
        let old = json!({ "generations": [
            { "from": 1, "to": 2, "at": 7, "mode": "full_refresh_replace" },
            { "from": 3, "to": 3, "at": 9, "mode": "full_refresh_merge", "vanish": true, "empty": true },
        ] });
        let read: Holder = serde_json::from_value(old).unwrap();
        assert_eq!(read.generations.len(), 2);
        assert!(!read.generations[0].vanish && read.generations[1].empty);
        insta::assert_snapshot!(serde_json::to_string(&read).unwrap(), @r#"{"generations":[{"mode":"full_refresh_replace","each":[[1,2,7]]},{"mode":"full_refresh_merge","vanish":true,"empty":true,"each":[[3,3,9]]}]}"#);
    }
}
