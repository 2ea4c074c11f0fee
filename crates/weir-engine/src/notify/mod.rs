//! Brings messages to people and systems: webhooks over HTTP, mail over SMTP. One try each; whoever
//! asks for it decides whether to try again.

mod mail;
mod post;

pub(crate) use mail::tls_parameters;
pub use mail::{Mail, Smtp, SmtpTls, send};
pub use post::{Posted, Poster};
