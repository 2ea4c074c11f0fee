//! Signatures as <https://www.standardwebhooks.com> has them.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use weir_protocol::{Error, Result, Secret};
use zeroize::Zeroizing;

use super::PREFIX;

/// The headers of a signed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    pub headers: Vec<(&'static str, String)>,
}

/// Signs a message by each of the secrets: the receiver may know any of them.
pub fn signed(id: &str, at_s: i64, body: &str, secrets: &[Secret]) -> Result<Signed> {
    let content = format!("{id}.{at_s}.{body}");
    let signatures: Vec<String> = secrets
        .iter()
        .map(|secret| {
            let key = key(secret)?;
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), content.as_bytes());
            Ok(format!("v1,{}", STANDARD.encode(tag.as_ref())))
        })
        .collect::<Result<_>>()?;
    Ok(Signed {
        headers: vec![
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", at_s.to_string()),
            ("webhook-signature", signatures.join(" ")),
        ],
    })
}

fn key(secret: &Secret) -> Result<Zeroizing<Vec<u8>>> {
    let text = secret.expose().trim();
    let bytes = STANDARD.decode(text.strip_prefix(PREFIX).unwrap_or(text));
    let bytes = Zeroizing::new(bytes.map_err(|_| wrong())?);
    // What the specification asks for.
    if (24..=64).contains(&bytes.len()) {
        Ok(bytes)
    } else {
        Err(wrong())
    }
}

fn wrong() -> Error {
    Error::auth("the webhook's secret is not 24 to 64 bytes in base64 after whsec_")
        .hint("`weir webhook rotate NAME` makes a new one")
}
