//! Messages signed as <https://www.standardwebhooks.com> has it.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;
use weir_protocol::{Error, Result, Secret};
use zeroize::Zeroizing;

use super::credential::Values;
use super::{AuthInput, Authenticator, Generation};
use crate::http::{Body, Clock, Outgoing};

const PREFIX: &str = "whsec_";
const ID: &str = "webhook-id";

pub(super) struct StandardWebhooks {
    key: hmac::Key,
    clock: Arc<dyn Clock>,
    secrets: Vec<Secret>,
    hint: String,
}

pub(super) fn build(values: &Values, secret: &str, input: &AuthInput<'_>) -> Result<StandardWebhooks> {
    let secret = Zeroizing::new(values.required(secret)?);
    let text = secret.trim();
    let key = key(text).ok_or_else(|| {
        Error::auth("the secret is not 24 to 64 bytes in base64 after whsec_")
            .with("connection", values.connection())
            .hint(format!(
                "set credential.secret in {} to the receiver's secret",
                values.file()
            ))
    })?;
    let mut secrets = values.secrets();
    secrets.push(Secret::new(text));
    Ok(StandardWebhooks {
        key,
        clock: input.transport.clock().clone(),
        secrets,
        hint: values.hint(),
    })
}

/// None where the secret is not 24 to 64 bytes in base64.
pub(crate) fn key(secret: &str) -> Option<hmac::Key> {
    let bytes = STANDARD.decode(secret.strip_prefix(PREFIX).unwrap_or(secret));
    let bytes = Zeroizing::new(bytes.unwrap_or_default());
    let is_fine = (24..=64).contains(&bytes.len());
    is_fine.then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

pub(super) fn signature(key: &hmac::Key, (id, at_s): (&str, i64), body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(format!("{id}.{at_s}.").as_bytes());
    context.update(body);
    format!("v1,{}", STANDARD.encode(context.sign().as_ref()))
}

#[async_trait]
impl Authenticator for StandardWebhooks {
    async fn sign(&self, out: &mut Outgoing) -> Result<Generation> {
        let own = out.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(ID));
        let id = own.map_or_else(
            || format!("msg_{}", Uuid::now_v7().simple()),
            |(_, id)| id.clone(),
        );
        let at_s = self.clock.now().as_second();
        let body: Cow<'_, [u8]> = match &out.body {
            Body::Empty => Cow::Borrowed(&[]),
            Body::Json(bytes) | Body::Multipart(_, bytes) => Cow::Borrowed(bytes),
            Body::Form(text) | Body::Text(text) | Body::Bare(text) => Cow::Borrowed(text.as_bytes()),
        };
        let signature = signature(&self.key, (&id, at_s), &body);
        out.set_header(ID, id);
        out.set_header("webhook-timestamp", at_s.to_string());
        out.set_header("webhook-signature", signature);
        Ok(Generation::default())
    }

    async fn renew(&self, _refused: Generation) -> Result<bool> {
        Ok(false)
    }

    fn secrets(&self) -> Vec<Secret> {
        self.secrets.clone()
    }

    fn hint(&self) -> String {
        self.hint.clone()
    }
}
