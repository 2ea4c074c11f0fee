//! Whether a message is from whom it says: the schemes of vendors, each by its own documentation.

use aws_lc_rs::hmac::{self, Algorithm, HMAC_SHA1_FOR_LEGACY_USE_ONLY, HMAC_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use url::Url;
use weir_protocol::hook::Arrived;
use weir_protocol::spec::{HmacEncoding, SignatureSpec};
use weir_protocol::{Error, Result};

use crate::auth::standard_webhooks;
use crate::interpolate::hex;

/// A signed time may be so far from now: what is older may be a message that somebody kept.
pub(super) const TOLERANCE_S: i64 = 300;

/// One of the secrets has to fit; there are two while one is exchanged for another.
pub(super) fn check(scheme: &SignatureSpec, secrets: &[String], arrived: &Arrived) -> Result<()> {
    let signed = match scheme {
        SignatureSpec::Stripe { .. } => stripe(arrived)?,
        SignatureSpec::Github { .. } | SignatureSpec::Meta { .. } => {
            of_body(arrived, "x-hub-signature-256", "sha256=", HmacEncoding::Hex)?
        }
        SignatureSpec::Notion { .. } => of_body(arrived, "x-notion-signature", "sha256=", HmacEncoding::Hex)?,
        SignatureSpec::Hmac {
            header,
            prefix,
            encoding,
            ..
        } => of_body(arrived, &header.to_ascii_lowercase(), prefix, *encoding)?,
        SignatureSpec::Slack { .. } => slack(arrived)?,
        SignatureSpec::Twilio { .. } => twilio(arrived)?,
        SignatureSpec::Hubspot { .. } => hubspot(arrived)?,
        SignatureSpec::StandardWebhooks { .. } => standard(arrived)?,
    };
    let is_standard = matches!(scheme, SignatureSpec::StandardWebhooks { .. });
    for secret in secrets {
        let key = if is_standard {
            standard_webhooks::key(secret).ok_or_else(|| unusable("24 to 64 bytes in base64 after whsec_"))?
        } else {
            hmac::Key::new(signed.algorithm, secret.as_bytes())
        };
        if signed.is_by(&key) {
            return Ok(());
        }
    }
    Err(Error::auth("the signature is not that of this message")
        .hint("check that the connection's secret is the one the sender shows, and that nothing on the way changes the body"))
}

/// What a sender signed, and the signatures that it gives.
struct Signed {
    algorithm: Algorithm,
    /// Any one of them may have been signed.
    texts: Vec<Vec<u8>>,
    signatures: Vec<Vec<u8>>,
}

impl Signed {
    /// Compares in constant time.
    fn is_by(&self, key: &hmac::Key) -> bool {
        let fits = |text: &[u8]| {
            let mut all = self.signatures.iter();
            all.any(|signature| hmac::verify(key, text, signature).is_ok())
        };
        self.texts.iter().any(|text| fits(text))
    }
}

fn of_body(arrived: &Arrived, header: &str, prefix: &str, encoding: HmacEncoding) -> Result<Signed> {
    let given = required(arrived, header)?;
    let digits = given.strip_prefix(prefix).ok_or_else(|| unreadable(header))?;
    let decoded = match encoding {
        HmacEncoding::Hex => unhex(digits),
        HmacEncoding::Base64 => STANDARD.decode(digits).ok(),
    };
    Ok(Signed {
        algorithm: HMAC_SHA256,
        texts: vec![arrived.body.to_vec()],
        signatures: vec![decoded.ok_or_else(|| unreadable(header))?],
    })
}

/// <https://docs.stripe.com/webhooks#verify-manually>
fn stripe(arrived: &Arrived) -> Result<Signed> {
    let header = "stripe-signature";
    let given = required(arrived, header)?;
    let parts = || given.split(',').filter_map(|part| part.trim().split_once('='));
    let at = parts().find(|(name, _)| *name == "t").map(|(_, at)| at);
    let at = at.ok_or_else(|| unreadable(header))?;
    is_recent(arrived, header, at, 1)?;
    Ok(Signed {
        algorithm: HMAC_SHA256,
        texts: vec![joined(&[at.as_bytes(), b".", &arrived.body])],
        signatures: parts()
            .filter(|(name, _)| *name == "v1")
            .filter_map(|(_, digits)| unhex(digits))
            .collect(),
    })
}

/// <https://docs.slack.dev/authentication/verifying-requests-from-slack>
fn slack(arrived: &Arrived) -> Result<Signed> {
    let header = "x-slack-signature";
    let at = required(arrived, "x-slack-request-timestamp")?;
    is_recent(arrived, "x-slack-request-timestamp", at, 1)?;
    let given = required(arrived, header)?.strip_prefix("v0=").and_then(unhex);
    Ok(Signed {
        algorithm: HMAC_SHA256,
        texts: vec![joined(&[b"v0:", at.as_bytes(), b":", &arrived.body])],
        signatures: vec![given.ok_or_else(|| unreadable(header))?],
    })
}

/// <https://www.twilio.com/docs/usage/security#validating-requests>
fn twilio(arrived: &Arrived) -> Result<Signed> {
    let header = "x-twilio-signature";
    let given = STANDARD.decode(required(arrived, header)?).ok();
    let url = Url::parse(&arrived.url).map_err(|_| unreadable("host"))?;
    let digest = url.query_pairs().find(|(name, _)| name == "bodySHA256");
    let fields = match digest {
        // What is no form is signed by its digest in the address.
        Some((_, digest)) => {
            if !digest.eq_ignore_ascii_case(&hex(&Sha256::digest(&arrived.body))) {
                return Err(
                    Error::auth("the body is not the one whose digest is in the address")
                        .hint("look whether something on the way changes the body"),
                );
            }
            String::new()
        }
        None => {
            let mut fields: Vec<_> = url::form_urlencoded::parse(&arrived.body).collect();
            fields.sort();
            fields.dedup();
            fields
                .iter()
                .map(|(name, value)| format!("{name}{value}"))
                .collect()
        }
    };
    let texts = with_and_without_port(&arrived.url, &url);
    let texts = texts.into_iter().map(|url| format!("{url}{fields}").into_bytes());
    Ok(Signed {
        algorithm: HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        texts: texts.collect(),
        signatures: vec![given.ok_or_else(|| unreadable(header))?],
    })
}

/// Twilio signs addresses with their port or without, by the kind of the request.
fn with_and_without_port(written: &str, url: &Url) -> Vec<String> {
    let mut all = vec![written.to_owned()];
    if let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) {
        let rest = &url[url::Position::BeforePath..];
        all.push(format!("{}://{host}{rest}", url.scheme()));
        all.push(format!("{}://{host}:{port}{rest}", url.scheme()));
    }
    all
}

/// <https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests>
fn hubspot(arrived: &Arrived) -> Result<Signed> {
    let header = "x-hubspot-signature-v3";
    let at = required(arrived, "x-hubspot-request-timestamp")?;
    is_recent(arrived, "x-hubspot-request-timestamp", at, 1000)?;
    let given = STANDARD.decode(required(arrived, header)?).ok();
    let url = hubspot_decoded(&arrived.url);
    Ok(Signed {
        algorithm: HMAC_SHA256,
        texts: vec![joined(&[
            arrived.method.as_bytes(),
            url.as_bytes(),
            &arrived.body,
            at.as_bytes(),
        ])],
        signatures: vec![given.ok_or_else(|| unreadable(header))?],
    })
}

/// The signs that HubSpot takes as they are, of those that an address may write as %XX.
fn hubspot_decoded(url: &str) -> String {
    let pairs = [
        ("%3A", ":"),
        ("%2F", "/"),
        ("%3F", "?"),
        ("%40", "@"),
        ("%21", "!"),
        ("%24", "$"),
        ("%27", "'"),
        ("%28", "("),
        ("%29", ")"),
        ("%2A", "*"),
        ("%2C", ","),
        ("%3B", ";"),
    ];
    pairs.iter().fold(url.to_owned(), |url, (written, sign)| {
        url.replace(written, sign)
            .replace(&written.to_ascii_lowercase(), sign)
    })
}

/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
fn standard(arrived: &Arrived) -> Result<Signed> {
    let id = required(arrived, "webhook-id")?;
    let at = required(arrived, "webhook-timestamp")?;
    is_recent(arrived, "webhook-timestamp", at, 1)?;
    let given = required(arrived, "webhook-signature")?;
    Ok(Signed {
        algorithm: HMAC_SHA256,
        texts: vec![joined(&[id.as_bytes(), b".", at.as_bytes(), b".", &arrived.body])],
        signatures: given
            .split_ascii_whitespace()
            .filter_map(|part| part.strip_prefix("v1,"))
            .filter_map(|digits| STANDARD.decode(digits).ok())
            .collect(),
    })
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// `per_s` units of the header's time are a second.
fn is_recent(arrived: &Arrived, header: &str, at: &str, per_s: i64) -> Result<()> {
    let at: i64 = at.parse().map_err(|_| unreadable(header))?;
    let off_s = arrived.at.as_second().saturating_sub(at / per_s).saturating_abs();
    if off_s <= TOLERANCE_S {
        return Ok(());
    }
    Err(Error::auth("the message was signed too long ago or in the future")
        .with("off by", format!("{off_s} s"))
        .with("allowed", format!("{TOLERANCE_S} s"))
        .hint("set this machine's clock right; an old message that somebody sends again is refused on purpose"))
}

fn required<'a>(arrived: &'a Arrived, header: &str) -> Result<&'a str> {
    arrived.header(header).ok_or_else(|| {
        Error::auth(format!(
            "the header {header} is missing, so nothing proves who sent this"
        ))
        .hint("check that the sender signs its messages, and by the scheme that the connector declares")
    })
}

fn unreadable(header: &str) -> Error {
    Error::auth(format!("the header {header} cannot be read"))
        .hint("check that the sender signs by the scheme that the connector declares")
}

pub(super) fn unusable(wanted: &str) -> Error {
    Error::spec(format!("the secret that signs messages is not {wanted}"))
        .hint("set it in the connection's credential as the sender shows it")
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| {
        // A sign would be taken for part of a number.
        if !pair.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let text = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(text, 16).ok()
    };
    rest.is_empty()
        .then(|| pairs.iter().map(byte).collect())
        .flatten()
}
