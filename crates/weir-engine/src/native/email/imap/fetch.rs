//! Messages by their UIDs: first what is known of them, then themselves, as many as fit.

use std::collections::BTreeMap;

use async_imap::imap_proto::{AttributeValue, Response};
use jiff::fmt::strtime;
use weir_protocol::Result;

use super::Mailbox;
use crate::native::email::trouble::Trouble;

/// Bytes that what is known of one message takes at most.
const FACTS_BYTES_MAX: u64 = 64 << 10;
/// Bytes around the messages of an answer.
const AROUND_BYTES: u64 = 4 << 10;
/// Bytes of a header that is read without its message.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// What a server knows of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::native::email) struct Facts {
    pub(in crate::native::email) uid: u32,
    /// Bytes, as the server counts them.
    pub(in crate::native::email) size: u32,
    pub(in crate::native::email) flags: Vec<String>,
    /// When it came, in seconds since 1970.
    pub(in crate::native::email) received_at: Option<i64>,
}

/// What of a message is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    Header,
}

impl Mailbox {
    /// In the order of their UIDs. Messages that are gone by now are left out.
    pub(super) async fn facts(&mut self, uids: &[u32]) -> Result<Vec<Facts>, Trouble> {
        let mut found = BTreeMap::new();
        if uids.is_empty() {
            return Ok(Vec::new());
        }
        let bytes = FACTS_BYTES_MAX.saturating_mul(uids.len() as u64 + 1);
        let line = format!("UID FETCH {} (UID FLAGS INTERNALDATE RFC822.SIZE)", set_of(uids));
        self.ask("fetch", &line, bytes, |response| {
            // Servers tell of changed flags at any time, without a size.
            if let Response::Fetch(_, attributes) = response
                && let Some(facts) = Facts::of(attributes)
            {
                found.insert(facts.uid, facts);
            }
        })
        .await?;
        Ok(uids.iter().filter_map(|uid| found.remove(uid)).collect())
    }

    /// The bytes of messages, each under its UID. One that the server has and does not give is empty.
    pub(super) async fn contents(
        &mut self,
        messages: &[&Facts],
        part: Part,
    ) -> Result<BTreeMap<u32, Vec<u8>>, Trouble> {
        let mut contents = BTreeMap::new();
        if messages.is_empty() {
            return Ok(contents);
        }
        let (item, bytes): (_, u64) = match part {
            // Some servers count less than they send.
            Part::Whole => (
                "BODY.PEEK[]",
                messages
                    .iter()
                    .map(|facts| u64::from(facts.size) * 2 + AROUND_BYTES)
                    .sum(),
            ),
            Part::Header => (
                "BODY.PEEK[HEADER]",
                messages.iter().map(|_| HEADER_BYTES_MAX).sum(),
            ),
        };
        let uids: Vec<u32> = messages.iter().map(|facts| facts.uid).collect();
        let line = format!("UID FETCH {} (UID {item})", set_of(&uids));
        self.ask(
            "fetch",
            &line,
            bytes.saturating_add(FACTS_BYTES_MAX),
            |response| {
                if let Response::Fetch(_, attributes) = response
                    && let (Some(uid), Some(bytes)) = (uid_of(attributes), content_of(attributes))
                {
                    contents.insert(uid, bytes.to_vec());
                }
            },
        )
        .await?;
        Ok(contents)
    }
}

impl Facts {
    /// None where it is not all that was asked for.
    fn of(attributes: &[AttributeValue<'_>]) -> Option<Self> {
        let mut facts = Self {
            uid: uid_of(attributes)?,
            ..Self::default()
        };
        let mut is_whole = false;
        for attribute in attributes {
            match attribute {
                AttributeValue::Rfc822Size(size) => (facts.size, is_whole) = (*size, true),
                AttributeValue::Flags(flags) => {
                    facts.flags = flags.iter().filter_map(|flag| name_of(flag)).collect();
                }
                AttributeValue::InternalDate(date) => facts.received_at = moment(date),
                _ => {}
            }
        }
        is_whole.then_some(facts)
    }
}

fn uid_of(attributes: &[AttributeValue<'_>]) -> Option<u32> {
    attributes.iter().find_map(|attribute| match attribute {
        AttributeValue::Uid(uid) => Some(*uid),
        _ => None,
    })
}

fn content_of<'a>(attributes: &'a [AttributeValue<'_>]) -> Option<&'a [u8]> {
    attributes.iter().find_map(|attribute| match attribute {
        AttributeValue::BodySection { data, .. } => Some(data.as_deref().unwrap_or_default()),
        _ => None,
    })
}

/// As in `22-Nov-2026 10:00:00 +0200`, in seconds since 1970.
fn moment(date: &str) -> Option<i64> {
    let parsed = strtime::parse("%d-%b-%Y %H:%M:%S %z", date.trim()).ok()?;
    Some(parsed.to_timestamp().ok()?.as_second())
}

/// `1:3,7`.
fn set_of(uids: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for uid in uids {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*uid) => *last = *uid,
            _ => ranges.push((*uid, *uid)),
        }
    }
    let written: Vec<String> = ranges
        .iter()
        .map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}:{last}")
            }
        })
        .collect();
    written.join(",")
}

/// `\Seen` as `seen`; words of the server's or a program's own as they are.
fn name_of(flag: &str) -> Option<String> {
    match flag.strip_prefix('\\') {
        // Whether this login is the first to see it says nothing of the message.
        Some(system) if system.eq_ignore_ascii_case("recent") => None,
        Some(system) => Some(system.to_ascii_lowercase()),
        None => Some(flag.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_asked_for_as_one() {
        assert_eq!(set_of(&[1, 2, 3, 7, 9, 10]), "1:3,7,9:10");
        assert_eq!(set_of(&[u32::MAX]), u32::MAX.to_string());
        assert_eq!(set_of(&[]), "");
    }

    #[test]
    fn facts_are_read_as_servers_write_them() {
        assert_eq!(moment("22-Nov-2026 10:00:00 +0200"), Some(1_795_334_400));
        assert_eq!(moment(" 2-Nov-2026 10:00:00 +0000"), Some(1_793_613_600));
        assert_eq!(moment("yesterday"), None);
        assert_eq!(name_of("\\Seen").as_deref(), Some("seen"));
        assert_eq!(name_of("\\Recent"), None);
        assert_eq!(name_of("$Junk").as_deref(), Some("$Junk"));
    }
}
