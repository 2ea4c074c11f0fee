//! A message as an action asks for it, made into bytes that mail servers take. What could write a header of its own is
//! refused, not mended.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lettre::Message;
use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::message::{Attachment, Body, Mailbox, MessageBuilder, MultiPart, SinglePart};
use serde::Deserialize;
use weir_protocol::{Error, Result};

/// Recipients of one message, of all kinds together.
const RECIPIENTS_MAX: usize = 100;
/// Message ids in `references`; of more, the first and the newest stay.
const REFERENCES_MAX: usize = 50;
/// Characters of a line of a header: RFC 5322 forbids more.
const HEADER_CHARS_MAX: usize = 900;

/// The body of a request that sends.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Letter {
    from: String,
    to: Vec<String>,
    #[serde(default)]
    cc: Vec<String>,
    #[serde(default)]
    bcc: Vec<String>,
    #[serde(default)]
    reply_to: Vec<String>,
    subject: String,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    html: Option<String>,
    #[serde(default)]
    attachments: Vec<File>,
    /// Without angle brackets, like all ids here.
    pub(super) message_id: String,
    #[serde(default)]
    in_reply_to: Option<String>,
    #[serde(default)]
    references: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    filename: String,
    #[serde(default = "any_type")]
    content_type: String,
    base64: String,
}

impl Letter {
    pub(super) fn parse(json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json).map_err(|error| {
            Error::usage("this is no message that could be sent")
                .caused_by(error)
                .hint("`weir action show` prints what the action takes")
        })
    }

    /// The message, with its envelope.
    pub(super) fn message(&self) -> Result<Message> {
        let builder = self.body_of(self.headers()?)?;
        builder.map_err(|error| {
            Error::usage("the message cannot be written")
                .caused_by(error)
                .hint("name one recipient at least, and a sender")
        })
    }

    fn headers(&self) -> Result<MessageBuilder> {
        let recipients = self.to.len() + self.cc.len() + self.bcc.len();
        if recipients > RECIPIENTS_MAX {
            return Err(Error::usage("the message has too many recipients")
                .with("recipients", recipients)
                .with("limit", RECIPIENTS_MAX)
                .hint("send several messages"));
        }
        one_line("subject", &self.subject)?;
        let mut builder = Message::builder()
            .from(mailbox("from", &self.from)?)
            .subject(self.subject.as_str())
            .date_now()
            .message_id(Some(bracketed("message_id", &self.message_id)?));
        for to in &self.to {
            builder = builder.to(mailbox("to", to)?);
        }
        for cc in &self.cc {
            builder = builder.cc(mailbox("cc", cc)?);
        }
        for bcc in &self.bcc {
            builder = builder.bcc(mailbox("bcc", bcc)?);
        }
        for reply_to in &self.reply_to {
            builder = builder.reply_to(mailbox("reply_to", reply_to)?);
        }
        if let Some(id) = &self.in_reply_to {
            builder = builder.in_reply_to(bracketed("in_reply_to", id)?);
        }
        match self.chain()?.as_slice() {
            [] => Ok(builder),
            ids => Ok(builder.references(ids.join(" "))),
        }
    }

    /// The conversation: what the caller names, else what is replied to.
    fn chain(&self) -> Result<Vec<String>> {
        let ids = if self.references.is_empty() {
            self.in_reply_to.as_slice()
        } else {
            &self.references
        };
        let ids: Result<Vec<String>> = ids.iter().map(|id| bracketed("references", id)).collect();
        let mut ids = ids?;
        if ids.len() > REFERENCES_MAX {
            let newest = ids.split_off(ids.len() - (REFERENCES_MAX - 1));
            ids.truncate(1);
            ids.extend(newest);
        }
        Ok(ids)
    }

    fn body_of(&self, builder: MessageBuilder) -> Result<Result<Message, lettre::error::Error>> {
        let files = self
            .attachments
            .iter()
            .map(File::part)
            .collect::<Result<Vec<_>>>()?;
        let both = |text: &str, html: &str| MultiPart::alternative_plain_html(lines(text), lines(html));
        let single = match (&self.text, &self.html) {
            (None, None) => {
                return Err(Error::usage("the message says nothing").hint("give text, html, or both"));
            }
            (Some(text), Some(html)) if files.is_empty() => return Ok(builder.multipart(both(text, html))),
            (Some(text), Some(html)) => {
                let whole = MultiPart::mixed().multipart(both(text, html));
                return Ok(builder.multipart(with_files(whole, files)));
            }
            (Some(text), None) => SinglePart::plain(lines(text)),
            (None, Some(html)) => SinglePart::html(lines(html)),
        };
        if files.is_empty() {
            return Ok(builder.singlepart(single));
        }
        Ok(builder.multipart(with_files(MultiPart::mixed().singlepart(single), files)))
    }
}

/// With line ends of one kind, of which mail's own are made.
fn lines(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

fn with_files(whole: MultiPart, files: Vec<SinglePart>) -> MultiPart {
    files.into_iter().fold(whole, MultiPart::singlepart)
}

impl File {
    fn part(&self) -> Result<SinglePart> {
        one_line("attachments.filename", &self.filename)?;
        one_line("attachments.content_type", &self.content_type)?;
        let content = STANDARD.decode(self.base64.trim()).map_err(|error| {
            Error::usage("an attachment is not base64")
                .with("filename", &self.filename)
                .caused_by(error)
                .hint("encode the file's bytes in base64, without line breaks")
        })?;
        let kind = ContentType::parse(&self.content_type).map_err(|error| {
            Error::usage(format!("'{}' is no content type", self.content_type))
                .with("filename", &self.filename)
                .caused_by(error)
                .hint("write it as in application/pdf")
        })?;
        // Never as it stands: a line end of its own could end the message on its way, and servers change or refuse those.
        let content = Body::new_with_encoding(content, ContentTransferEncoding::Base64).map_err(|_| {
            Error::internal("an attachment cannot be written")
                .with("filename", &self.filename)
                .hint("report it")
        })?;
        Ok(Attachment::new(self.filename.clone()).body(content, kind))
    }
}

fn any_type() -> String {
    "application/octet-stream".to_owned()
}

fn mailbox(field: &'static str, text: &str) -> Result<Mailbox> {
    one_line(field, text)?;
    text.parse().map_err(|error| {
        Error::usage(format!("'{text}' is no mail address"))
            .with("field", field)
            .caused_by(error)
            .hint("write it as in ada@example.com, or Ada Lovelace <ada@example.com>")
    })
}

/// Refuses what could end a header and begin another one.
fn one_line(field: &'static str, text: &str) -> Result<()> {
    let bad = text.chars().any(char::is_control);
    if bad || text.chars().count() > HEADER_CHARS_MAX {
        let what = if bad {
            "holds line breaks or control characters"
        } else {
            "is too long"
        };
        return Err(Error::usage(format!("{field} {what}"))
            .with("characters at most", HEADER_CHARS_MAX)
            .hint("write it on one line; everything else belongs into text or html"));
    }
    Ok(())
}

/// A message id in its angle brackets, whether they were written or not.
fn bracketed(field: &'static str, id: &str) -> Result<String> {
    let bare = bare_id(id);
    let is_sound = bare.contains('@')
        && bare.len() <= HEADER_CHARS_MAX
        && bare
            .chars()
            .all(|character| character.is_ascii_graphic() && !matches!(character, '<' | '>'));
    if is_sound {
        return Ok(format!("<{bare}>"));
    }
    Err(
        Error::usage(format!("'{}' is no message id", bare.escape_debug()))
            .with("field", field)
            .hint("give the message_id of the message that is meant, as in 1234@mail.example.com"),
    )
}

/// A message id without its angle brackets.
pub(super) fn bare_id(id: &str) -> &str {
    let id = id.trim();
    id.strip_prefix('<')
        .and_then(|id| id.strip_suffix('>'))
        .unwrap_or(id)
}
