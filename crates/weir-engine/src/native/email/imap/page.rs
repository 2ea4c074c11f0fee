//! One page of a folder: the messages after a UID, as many as fit into a page's bytes.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use weir_protocol::{Error, Result};

use super::fetch::{Facts, Part};
use super::{Mailbox, Opened};
use crate::native::email::carrier::number;
use crate::native::email::record::{self, Source};
use crate::native::email::settings::Imap;
use crate::native::email::trouble::Trouble;

/// Messages of one page.
const MESSAGES_MAX: usize = 200;
/// Bytes of the messages of one page, beyond its first.
const PAGE_BYTES: u64 = 8 << 20;
/// UIDs that are looked for at once.
const WINDOW: u32 = 1 << 16;
/// Windows without a message that are looked through for one page.
const EMPTY_WINDOWS_MAX: u32 = 64;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::native::email) struct PageWish {
    /// Of the folder, as the server spells it.
    pub(in crate::native::email) path: String,
    /// The same as people see it.
    pub(in crate::native::email) folder: String,
    /// The UID up to which it was read.
    pub(in crate::native::email) after: u32,
    /// The UIDVALIDITY under which that UID was given; 0 for whichever it is.
    pub(in crate::native::email) validity: u32,
    /// Ask again how far the folder goes.
    pub(in crate::native::email) anew: bool,
    pub(in crate::native::email) messages_max: usize,
}

/// What a page says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::native::email) struct PageHead {
    /// The folder's UIDVALIDITY. Where it is not the one that was asked for, the page is empty.
    pub(in crate::native::email) validity: u32,
    /// The UID that the next message gets.
    pub(in crate::native::email) next: u32,
    /// The UID up to which the folder is read with this page.
    pub(in crate::native::email) covered: u32,
}

impl PageWish {
    pub(in crate::native::email) fn of(params: &HashMap<String, String>) -> Result<Self> {
        let text = |name: &str| params.get(name).cloned().unwrap_or_default();
        Ok(Self {
            path: text("path"),
            folder: text("folder"),
            after: number(params, "after")?,
            validity: number(params, "validity")?,
            anew: number(params, "anew")?,
            messages_max: number(params, "messages_max")?,
        })
    }

    pub(in crate::native::email) fn params(&self) -> [(&'static str, String); 6] {
        [
            ("path", self.path.clone()),
            ("folder", self.folder.clone()),
            ("after", self.after.to_string()),
            ("validity", self.validity.to_string()),
            ("anew", self.anew.to_string()),
            ("messages_max", self.messages_max.to_string()),
        ]
    }
}

impl PageHead {
    /// Whether nothing is left of the folder as it was when it was opened.
    pub(in crate::native::email) fn is_end(&self) -> bool {
        self.covered >= self.next.saturating_sub(1)
    }
}

impl Mailbox {
    /// Lines of JSON: the page's head, then a message each.
    pub(in crate::native::email) async fn page(
        &mut self,
        imap: &Imap,
        wish: &PageWish,
    ) -> Result<Vec<u8>, Trouble> {
        let opened = self.examine(&wish.path, wish.anew).await?;
        let mut head = PageHead {
            validity: opened.validity,
            next: opened.next,
            covered: wish.after,
        };
        let is_other = wish.validity != 0 && wish.validity != opened.validity;
        // A folder that goes less far than it was read was begun anew without saying so.
        let is_shorter = opened.next <= wish.after;
        if is_other || is_shorter || head.is_end() {
            return lines_of(&head, Vec::new());
        }
        let (found, covered) = self.window(&opened, wish.after).await?;
        let wanted: Vec<u32> = found
            .iter()
            .copied()
            .take(wish.messages_max.clamp(1, MESSAGES_MAX))
            .collect();
        let facts = self.facts(&wanted).await?;
        let fitting = fitting(&facts, imap.message_bytes_max);
        let is_all = fitting == facts.len() && wanted.len() == found.len();
        head.covered = match facts.get(fitting.saturating_sub(1)) {
            _ if is_all => covered,
            Some(last) if fitting < facts.len() => last.uid,
            _ => wanted.last().copied().unwrap_or(covered),
        };
        let records = self.records(imap, wish, &opened, &facts[..fitting]).await?;
        lines_of(&head, records)
    }

    /// The UIDs of the next window that has any, and the UID up to which was looked.
    async fn window(&mut self, opened: &Opened, after: u32) -> Result<(Vec<u32>, u32), Trouble> {
        let end = opened.next.saturating_sub(1);
        let mut from = after.saturating_add(1);
        for _ in 0..EMPTY_WINDOWS_MAX {
            let to = from.saturating_add(WINDOW - 1).min(end);
            let mut found = self.search(&format!("UID {from}:{to}")).await?;
            // Servers may give the newest message where there is none in the range.
            found.retain(|uid| (from..=to).contains(uid));
            if !found.is_empty() || to >= end {
                return Ok((found, to));
            }
            from = to.saturating_add(1);
        }
        Ok((Vec::new(), from.saturating_sub(1)))
    }

    async fn records(
        &mut self,
        imap: &Imap,
        wish: &PageWish,
        opened: &Opened,
        facts: &[Facts],
    ) -> Result<Vec<Vec<u8>>, Trouble> {
        let (whole, large): (Vec<&Facts>, Vec<&Facts>) = facts
            .iter()
            .partition(|facts| facts.size <= imap.message_bytes_max);
        let mut contents: BTreeMap<u32, Vec<u8>> = self.contents(&whole, Part::Whole).await?;
        contents.extend(self.contents(&large, Part::Header).await?);
        let mut records = Vec::with_capacity(facts.len());
        for facts in facts {
            // Gone since it was found.
            let Some(bytes) = contents.remove(&facts.uid) else {
                continue;
            };
            let source = Source {
                folder: &wish.folder,
                validity: opened.validity,
                facts,
                is_partial: facts.size > imap.message_bytes_max,
                attachment_bytes_max: imap.attachment_bytes_max,
            };
            records.push(record::json(&source, &bytes)?);
        }
        Ok(records)
    }
}

/// How many of the first messages fit into a page; one at least.
fn fitting(facts: &[Facts], message_bytes_max: u32) -> usize {
    let mut bytes = 0_u64;
    let fits = facts.iter().take_while(|facts| {
        if facts.size <= message_bytes_max {
            bytes += u64::from(facts.size);
        }
        bytes <= PAGE_BYTES
    });
    fits.count().max(1).min(facts.len())
}

fn lines_of(head: &PageHead, records: Vec<Vec<u8>>) -> Result<Vec<u8>, Trouble> {
    let mut lines = serde_json::to_vec(head).map_err(|error| {
        Error::internal("a page cannot be written")
            .caused_by(error)
            .hint("report it")
    })?;
    lines.push(b'\n');
    for record in records {
        lines.extend_from_slice(&record);
        lines.push(b'\n');
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(sizes: &[u32]) -> Vec<Facts> {
        let facts = |(index, size): (usize, &u32)| Facts {
            uid: u32::try_from(index).unwrap() + 1,
            size: *size,
            ..Facts::default()
        };
        sizes.iter().enumerate().map(facts).collect()
    }

    #[test]
    fn a_page_holds_what_fits_and_one_at_least() {
        let mib = 1 << 20;
        assert_eq!(fitting(&sizes(&[mib; 20]), 10 * mib), 8);
        assert_eq!(fitting(&sizes(&[9 * mib, mib]), 10 * mib), 1);
        // Of these only the header is read.
        assert_eq!(fitting(&sizes(&[11 * mib; 20]), 10 * mib), 20);
        assert_eq!(fitting(&[], mib), 0);
    }
}
