//! Whether a message is among those that were sent.

use weir_protocol::{Error, Result};

use super::Mailbox;
use super::folders::is_named;
use crate::native::email::settings::Imap;
use crate::native::email::trouble::Trouble;

impl Mailbox {
    /// Name of the folder of sent messages, and the UID of the one with this id, where it is there.
    pub(in crate::native::email) async fn find_sent(
        &mut self,
        imap: &Imap,
        id: &str,
    ) -> Result<Option<(String, u32)>, Trouble> {
        let is_plain = !id.is_empty()
            && id
                .chars()
                .all(|sign| sign.is_ascii_graphic() && !matches!(sign, '"' | '\\'));
        if !is_plain {
            return Err(Trouble::Broken(
                Error::usage("this is no message id that could be looked for").hint("give it as it was sent"),
            ));
        }
        let folders = self.folders().await?;
        let found = folders.into_iter().find(|folder| match &imap.sent_folder {
            Some(wanted) => is_named(folder, wanted),
            None => folder.special_use == Some("sent"),
        });
        let folder = found.ok_or_else(|| {
            Error::not_found("the mailbox has no folder of sent messages")
                .hint("set config.imap.sent_folder to its name")
        })?;
        self.examine(&folder.path, true).await?;
        let uids = self.search(&format!("HEADER Message-ID \"<{id}>\"")).await?;
        Ok(uids.last().map(|uid| (folder.name, *uid)))
    }
}
