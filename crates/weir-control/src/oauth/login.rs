//! One person's consent: where they are sent, and what comes back (RFC 6749, 7636, 9207).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use url::Url;
use weir_protocol::oauth::OauthClient;
use weir_protocol::{Error, Result, Secret};
use zeroize::Zeroizing;

use crate::audit::random;

/// Path of the answer, on the loopback address and on a server.
const CALLBACK: &str = "/oauth/callback";
const RANDOM_BYTES: usize = 32;
const SHOWN_CHARS: usize = 200;

/// What ties an answer to who asked: `state` to the browser, the verifier to this process or store.
#[derive(Debug, Clone)]
pub struct Proof {
    pub state: Secret,
    pub verifier: Secret,
}

impl Proof {
    pub fn new() -> Result<Self> {
        Ok(Self {
            state: random_text()?,
            verifier: random_text()?,
        })
    }
}

pub(crate) fn random_text() -> Result<Secret> {
    let mut bytes = Zeroizing::new([0_u8; RANDOM_BYTES]);
    random(&mut *bytes)?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(*bytes)))
}

/// What the provider sends back through the browser.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Callback {
    pub code: Option<Secret>,
    pub state: Option<Secret>,
    pub iss: Option<String>,
    pub error: Option<String>,
    pub error_description: Option<String>,
}

impl Callback {
    /// Reads the whole address that the browser was sent to.
    pub fn parse(address: &str) -> Result<Self> {
        let url = Url::parse(address).map_err(|_| {
            Error::usage("this is no address that a browser was sent to")
                .hint("give the whole address: http://…/oauth/callback?code=…&state=…")
        })?;
        let mut found = Self::default();
        for (name, value) in url.query_pairs() {
            let value = value.into_owned();
            match name.as_ref() {
                "code" => found.code = Some(Secret::new(value)),
                "state" => found.state = Some(Secret::new(value)),
                "iss" => found.iss = Some(value),
                "error" => found.error = Some(value),
                "error_description" => found.error_description = Some(value),
                _ => {}
            }
        }
        Ok(found)
    }
}

/// Where the provider sends the browser to: exactly this, in every request.
pub fn redirect_uri(base: &str) -> String {
    format!("{}{CALLBACK}", base.trim_end_matches('/'))
}

/// Where a person consents.
pub fn authorize_url(client: &OauthClient, redirect_uri: &str, proof: &Proof) -> Result<String> {
    let base = client.authorize_url.as_ref().ok_or_else(|| {
        let hint = if client.can_device {
            "use `weir auth login CONNECTION --device`"
        } else {
            "set authorize_url in the connector's auth, or choose another grant"
        };
        Error::spec("the connector does not say where a person consents").hint(hint)
    })?;
    let mut url = Url::parse(base).map_err(|error| {
        Error::spec("authorize_url is not a URL")
            .with("authorize_url", base)
            .caused_by(error)
            .hint("write it with https://")
    })?;
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(proof.verifier.expose()));
    {
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &client.client_id)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("state", proof.state.expose())
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        if !client.scopes.is_empty() {
            query.append_pair("scope", &client.scopes.join(" "));
        }
        for (name, value) in &client.authorize_params {
            query.append_pair(name, value);
        }
    }
    Ok(url.into())
}

/// The code of an answer that belongs to what was asked.
pub fn code_of(client: &OauthClient, state: &Secret, callback: &Callback) -> Result<Secret> {
    let given = callback.state.as_ref().map_or("", Secret::expose);
    if verify_slices_are_equal(given.as_bytes(), state.expose().as_bytes()).is_err() {
        return Err(
            Error::denied("the answer does not belong to this login: its state is another")
                .hint("begin the login anew, and end it in the same browser"),
        );
    }
    check_issuer(client, callback.iss.as_deref())?;
    if let Some(error) = &callback.error {
        let shown = |text: &str| {
            text.chars()
                .filter(|c| !c.is_control())
                .take(SHOWN_CHARS)
                .collect::<String>()
        };
        let mut refused = Error::auth(format!("the provider did not consent: {}", shown(error)));
        if let Some(why) = &callback.error_description {
            refused = refused.with("reason", shown(why));
        }
        return Err(refused.hint(match error.as_str() {
            "access_denied" => "consent at the provider, or ask somebody who may",
            "invalid_scope" => "the scopes of the connector's auth are not allowed to this client",
            _ => "check the client's registration at the provider: its redirect URI, its grants, its scopes",
        }));
    }
    callback.code.clone().ok_or_else(|| {
        Error::auth("the provider's answer has no code").hint("begin the login anew; check authorize_url")
    })
}

/// Whether the answer is from whom was asked: codes of one provider are never shown to another.
fn check_issuer(client: &OauthClient, iss: Option<&str>) -> Result<()> {
    let refuse = |given: &str, wanted: &str| {
        Err(Error::denied("the answer comes from another provider than was asked")
            .with("iss", given)
            .with("expected", wanted)
            .hint("begin the login anew; if the provider is right, set issuer in the connector's auth to its iss"))
    };
    match (&client.issuer, iss) {
        (Some(wanted), given) if given != Some(wanted.as_str()) => refuse(given.unwrap_or("none"), wanted),
        (Some(_), _) | (None, None) => Ok(()),
        (None, Some(given)) => {
            let host = |text: &str| {
                Url::parse(text)
                    .ok()
                    .and_then(|url| url.host_str().map(str::to_owned))
            };
            let known = [
                client.authorize_url.as_deref().and_then(host),
                host(&client.token_url),
            ];
            match host(given) {
                Some(host) if known.iter().flatten().any(|known| *known == host) => Ok(()),
                _ => refuse(
                    given,
                    client.authorize_url.as_deref().unwrap_or(&client.token_url),
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_protocol::spec::Oauth2Grant;

    use super::*;

    fn client(issuer: Option<&str>) -> OauthClient {
        OauthClient {
            grant: Oauth2Grant::AuthorizationCode,
            client_id: "weir & co".to_owned(),
            token_url: "https://api.example.com/token".to_owned(),
            issuer: issuer.map(str::to_owned),
            authorize_url: Some("https://login.example.com/authorize?tenant=7".to_owned()),
            authorize_params: vec![("access_type".to_owned(), "offline".to_owned())],
            scopes: vec!["read".to_owned(), "offline_access".to_owned()],
            can_device: false,
            can_revoke: false,
            seed: None,
        }
    }

    #[test]
    fn the_consent_is_asked_for_with_a_challenge() {
        let proof = Proof {
            state: Secret::new("st4te"),
            // RFC 7636, appendix B.
            verifier: Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
        };
        let redirect = redirect_uri("http://127.0.0.1:4711/");
        assert_eq!(redirect, "http://127.0.0.1:4711/oauth/callback");
        let url = authorize_url(&client(None), &redirect, &proof).unwrap();
        assert_eq!(
            url,
            "https://login.example.com/authorize?tenant=7&response_type=code&client_id=weir+%26+co\
             &redirect_uri=http%3A%2F%2F127.0.0.1%3A4711%2Foauth%2Fcallback&state=st4te\
             &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256\
             &scope=read+offline_access&access_type=offline"
        );
        let (one, other) = (Proof::new().unwrap(), Proof::new().unwrap());
        assert_ne!(one.state, other.state);
        assert_ne!(one.verifier, other.verifier);
        assert_eq!(one.verifier.expose().len(), 43);
    }

    #[test]
    fn an_answer_is_taken_only_where_it_belongs() {
        let state = Secret::new("st4te");
        let told = |issuer, query: &str| {
            let callback = Callback::parse(&format!("http://127.0.0.1/oauth/callback?{query}")).unwrap();
            code_of(&client(issuer), &state, &callback)
        };
        assert_eq!(told(None, "code=c0de&state=st4te").unwrap().expose(), "c0de");
        for wrong in [
            "code=c0de",
            "code=c0de&state=other",
            "code=c0de&state=",
            "state=st4te",
        ] {
            told(None, wrong).unwrap_err();
        }
        let issuer = Some("https://login.example.com");
        told(issuer, "code=c&state=st4te&iss=https://login.example.com").unwrap();
        told(issuer, "code=c&state=st4te").unwrap_err();
        told(issuer, "code=c&state=st4te&iss=https://evil.example.com").unwrap_err();
        told(issuer, "code=c&state=st4te&iss=https://login.example.com/").unwrap_err();
        told(None, "code=c&state=st4te&iss=https://login.example.com/oauth2").unwrap();
        told(None, "code=c&state=st4te&iss=https://evil.example.com").unwrap_err();
        let error = told(None, "error=access_denied&error_description=No%0a!&state=st4te").unwrap_err();
        assert_eq!(
            format!("{error:?}"),
            "[auth] the provider did not consent: access_denied (reason: No!) -> consent at the provider, or ask somebody who may"
        );
        Callback::parse("code=1").unwrap_err();
    }
}
