//! Which folders there are, and which of them are read.

use async_imap::imap_proto::{MailboxDatum, NameAttribute, Response, StatusAttribute};
use serde_json::json;
use weir_protocol::{Error, Result};

use super::command::quoted;
use super::{ANSWER_BYTES_MAX, Mailbox, utf7};
use crate::native::email::settings::Imap;
use crate::native::email::trouble::{Refusal, Trouble};

/// Folders of one mailbox.
const FOLDERS_MAX: usize = 1_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::native::email) struct Folder {
    /// As people see it.
    pub(in crate::native::email) name: String,
    /// As the server spells it.
    pub(in crate::native::email) path: String,
    delimiter: Option<String>,
    /// What it is for, where the server says so: `sent`, `drafts`, `junk`, `trash`, `archive`, `all`, `flagged`.
    pub(in crate::native::email) special_use: Option<&'static str>,
    can_be_opened: bool,
}

impl Folder {
    fn of(name: &str, delimiter: Option<&str>, attributes: &[NameAttribute<'_>]) -> Self {
        let special_use = attributes.iter().find_map(|attribute| match attribute {
            NameAttribute::All => Some("all"),
            NameAttribute::Archive => Some("archive"),
            NameAttribute::Drafts => Some("drafts"),
            NameAttribute::Flagged => Some("flagged"),
            NameAttribute::Junk => Some("junk"),
            NameAttribute::Sent => Some("sent"),
            NameAttribute::Trash => Some("trash"),
            _ => None,
        });
        let is_closed = |attribute: &NameAttribute<'_>| match attribute {
            NameAttribute::NoSelect => true,
            NameAttribute::Extension(word) => word.eq_ignore_ascii_case("\\nonexistent"),
            _ => false,
        };
        Self {
            name: utf7::decode(name),
            path: name.to_owned(),
            delimiter: delimiter.map(str::to_owned),
            special_use,
            can_be_opened: !attributes.iter().any(is_closed),
        }
    }

    /// Whether it is read where nobody chose: copies and what nobody wants to keep are not.
    fn is_read(&self) -> bool {
        self.can_be_opened
            && !matches!(
                self.special_use,
                Some("all" | "drafts" | "flagged" | "junk" | "trash")
            )
    }
}

impl Mailbox {
    pub(super) async fn folders(&mut self) -> Result<Vec<Folder>, Trouble> {
        let mut found = Vec::new();
        self.ask("list", "LIST \"\" \"*\"", ANSWER_BYTES_MAX, |response| {
            if let Response::MailboxData(MailboxDatum::List(listed)) = response {
                let delimiter = listed.delimiter.as_deref();
                found.push(Folder::of(&listed.name, delimiter, &listed.name_attributes));
            }
        })
        .await?;
        if found.len() > FOLDERS_MAX {
            return Err(Trouble::Broken(
                Error::limit("the mailbox has too many folders")
                    .with("folders", found.len())
                    .with("limit", FOLDERS_MAX)
                    .hint("use a mailbox with fewer; weir keeps a place for each"),
            ));
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// Those that the connection chose. One that is not there is an error: a misspelled name would be read as empty.
    pub(in crate::native::email) async fn chosen(&mut self, imap: &Imap) -> Result<Vec<Folder>, Trouble> {
        let found = self.folders().await?;
        if imap.folders.is_empty() {
            return Ok(found.into_iter().filter(Folder::is_read).collect());
        }
        imap.folders
            .iter()
            .map(|wanted| {
                let known = found.iter().find(|folder| is_named(folder, wanted));
                known
                    .filter(|folder| folder.can_be_opened)
                    .cloned()
                    .ok_or_else(|| {
                        let names: Vec<&str> = found.iter().map(|folder| folder.name.as_str()).collect();
                        Trouble::Broken(
                            Error::not_found(format!("the mailbox has no folder '{wanted}'"))
                                .hint(format!("config.imap.folders may name: {}", names.join(", "))),
                        )
                    })
            })
            .collect()
    }

    /// One line of JSON each. A folder that vanished since it was listed is left out.
    pub(in crate::native::email) async fn folder_lines(&mut self, imap: &Imap) -> Result<Vec<u8>, Trouble> {
        let mut lines = Vec::new();
        let chosen = self.chosen(imap).await?;
        for folder in self.folders().await? {
            let counted = if folder.can_be_opened {
                self.status(&folder.path).await?
            } else {
                None
            };
            let line = json!({
                "name": folder.name,
                "path": folder.path,
                "delimiter": folder.delimiter,
                "special_use": folder.special_use,
                // One that may be seen and not opened is left out, unless somebody chose it.
                "is_read": chosen.contains(&folder) && (counted.is_some() || !imap.folders.is_empty()),
                "messages": counted.and_then(|counted| counted.messages),
                "unseen": counted.and_then(|counted| counted.unseen),
                "uidvalidity": counted.and_then(|counted| counted.validity),
                "uidnext": counted.and_then(|counted| counted.next),
            });
            lines.extend_from_slice(line.to_string().as_bytes());
            lines.push(b'\n');
        }
        Ok(lines)
    }

    /// None where the folder is gone, or not for this login.
    async fn status(&mut self, path: &str) -> Result<Option<Counted>, Trouble> {
        let mut counted = Counted::default();
        let line = format!("STATUS {} (MESSAGES UNSEEN UIDVALIDITY UIDNEXT)", quoted(path)?);
        let asked = self
            .ask("status", &line, ANSWER_BYTES_MAX, |response| {
                if let Response::MailboxData(MailboxDatum::Status { status, .. }) = response {
                    status.iter().for_each(|attribute| counted.note(attribute));
                }
            })
            .await;
        match asked {
            Ok(()) => Ok(Some(counted)),
            Err(Trouble::Refused(Refusal { code: 550, .. })) => Ok(None),
            Err(other) => Err(other),
        }
    }
}

/// What a folder holds.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    messages: Option<u32>,
    unseen: Option<u32>,
    validity: Option<u32>,
    next: Option<u32>,
}

impl Counted {
    fn note(&mut self, attribute: &StatusAttribute) {
        match attribute {
            StatusAttribute::Messages(number) => self.messages = Some(*number),
            StatusAttribute::Unseen(number) => self.unseen = Some(*number),
            StatusAttribute::UidValidity(number) => self.validity = Some(*number),
            StatusAttribute::UidNext(number) => self.next = Some(*number),
            _ => {}
        }
    }
}

/// INBOX is the only name whose case does not matter.
pub(super) fn is_named(folder: &Folder, wanted: &str) -> bool {
    folder.name == wanted
        || folder.path == wanted
        || (wanted.eq_ignore_ascii_case("inbox") && folder.name.eq_ignore_ascii_case("inbox"))
}
