//! Who logs in: what the engine's signing put into a request, as mail servers take it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use weir_protocol::{Error, Result, Secret};

use crate::http::Outgoing;

#[derive(Clone)]
pub(super) enum Login {
    /// Nobody: a relay that knows weir by its address.
    Nobody,
    Password {
        username: String,
        password: Secret,
    },
    /// XOAUTH2, as Google and Microsoft have it.
    Token {
        username: String,
        token: Secret,
    },
}

impl fmt::Debug for Login {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Nobody => "Nobody",
            Self::Password { .. } => "Password",
            Self::Token { .. } => "Token",
        })
    }
}

impl Login {
    /// `username` is whose token it is.
    pub(super) fn of(out: &Outgoing, username: Option<&str>) -> Result<Self> {
        let header = out
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let Some((_, value)) = header else {
            return Ok(Self::Nobody);
        };
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        if scheme.eq_ignore_ascii_case("bearer") {
            let username = username.ok_or_else(|| {
                Error::spec("config.username is missing: it says whose mailbox the token is for")
                    .hint("set config.username to the mailbox's address")
            })?;
            return Ok(Self::Token {
                username: username.to_owned(),
                token: Secret::new(rest),
            });
        }
        let decoded = STANDARD.decode(rest).ok();
        let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = text.as_deref().and_then(|text| text.split_once(':'));
        match pair {
            Some((username, password)) if scheme.eq_ignore_ascii_case("basic") => Ok(Self::Password {
                username: username.to_owned(),
                password: Secret::new(password),
            }),
            _ => Err(
                Error::spec("mail servers cannot be logged in to by this auth method")
                    .hint("set credential.method to basic, oauth2, bearer or none"),
            ),
        }
    }
}
