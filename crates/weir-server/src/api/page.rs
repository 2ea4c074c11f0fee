//! Lists in pages: `limit` says how many, `after` is the `next` of the page before.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_protocol::{Error, Result};

pub(crate) const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 200;

/// Which part of a list is asked for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Paging {
    /// So many at most; 50 if left out.
    #[schemars(range(min = 1, max = 200))]
    pub(crate) limit: Option<u32>,
    /// The `next` of the page before.
    pub(crate) after: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// Present where there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

impl<T> Page<T> {
    /// A part of a list by its items' keys, which no two of them share; the smallest first.
    pub(crate) fn by_key(items: Vec<T>, asked: &Paging, key: impl Fn(&T) -> String) -> Result<Self> {
        let mut keyed: Vec<(String, T)> = items.into_iter().map(|item| (key(&item), item)).collect();
        keyed.sort_by(|one, other| one.0.cmp(&other.0));
        if let Some(after) = &asked.after {
            keyed.retain(|(key, _)| key > after);
        }
        let page = Page::cut(keyed, limit(asked.limit)?, |(key, _)| key.clone());
        Ok(Self {
            items: page.items.into_iter().map(|(_, item)| item).collect(),
            next: page.next,
        })
    }

    /// A part of a list that only ever grows at its end.
    pub(crate) fn by_place(items: Vec<T>, asked: &Paging) -> Result<Self> {
        let before: usize = match &asked.after {
            None => 0,
            Some(after) => after.parse().map_err(|_| {
                Error::usage(format!("'{after}' is not the `next` of a page"))
                    .hint("leave `after` out to begin at the first item")
            })?,
        };
        let placed = items.into_iter().enumerate().skip(before).collect();
        let page = Page::cut(placed, limit(asked.limit)?, |(place, _)| (place + 1).to_string());
        Ok(Self {
            items: page.items.into_iter().map(|(_, item)| item).collect(),
            next: page.next,
        })
    }

    /// From one item more than was asked for: whether it came tells whether there is another page.
    pub(crate) fn cut(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Self {
        let limit = limit as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(cursor);
        Self { items, next }
    }
}

pub(crate) fn limit(asked: Option<u32>) -> Result<u32> {
    match asked.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        other => {
            Err(Error::usage(format!("limit {other} is out of range")).hint(format!("use 1 to {LIMIT_MAX}")))
        }
    }
}
