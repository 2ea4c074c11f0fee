//! Secrets of HashiCorp Vault and OpenBao: the KV version 2 engine over its HTTP API.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use url::{Host, Url};
use weir_protocol::{Error, ErrorKind, Result, Secret, SecretProvider};

const TIMEOUT: Duration = Duration::from_secs(10);
/// A secret with its metadata is far smaller.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Reads `MOUNT/PATH#FIELD`.
pub struct Vault {
    address: Url,
    token: Secret,
    namespace: Option<String>,
    client: reqwest::Client,
}

impl fmt::Debug for Vault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Vault({})", self.address)
    }
}

impl Vault {
    /// Plain HTTP is allowed to this machine alone.
    pub fn new(address: &str, token: Secret, namespace: Option<String>) -> Result<Self> {
        let refuse = |why: &str| {
            Error::spec(format!("the address of Vault {why}"))
                .with("VAULT_ADDR", address)
                .hint("write it as in https://vault.example.com:8200")
        };
        let mut url = Url::parse(address).map_err(|error| refuse("is no URL").caused_by(error))?;
        let is_here = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => return Err(refuse("has no host")),
        };
        if url.scheme() != "https" && !(url.scheme() == "http" && is_here) {
            return Err(refuse("is not encrypted"));
        }
        url.set_query(None);
        url.set_fragment(None);
        let client = reqwest::Client::builder()
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| {
                Error::internal("HTTP client cannot be built")
                    .caused_by(error)
                    .hint("check the machine's TLS set-up")
            })?;
        Ok(Self {
            address: url,
            token,
            namespace,
            client,
        })
    }

    fn url(&self, mount: &str, path: &str) -> Result<Url> {
        let mut url = self.address.clone();
        {
            let mut segments = url.path_segments_mut().map_err(|()| {
                Error::spec("the address of Vault cannot have a path")
                    .hint("set VAULT_ADDR to an http(s) URL")
            })?;
            segments.pop_if_empty().extend(["v1", mount, "data"]);
            segments.extend(path.split('/'));
        }
        Ok(url)
    }

    async fn ask(&self, url: Url) -> Result<(u16, Vec<u8>)> {
        let unreachable = |error: reqwest::Error| {
            Error::unavailable("Vault cannot be reached")
                .with("address", &self.address)
                .caused_by(error.without_url())
                .hint("check VAULT_ADDR, and that Vault runs")
        };
        let mut request = self
            .client
            .get(url)
            .header("X-Vault-Request", "true")
            .header("X-Vault-Token", self.token.expose());
        if let Some(namespace) = &self.namespace {
            request = request.header("X-Vault-Namespace", namespace);
        }
        let mut answer = request.send().await.map_err(unreachable)?;
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(Error::limit("Vault's answer is larger than 1 MiB")
                    .with("address", &self.address)
                    .hint("check that VAULT_ADDR is Vault's, and keep large values elsewhere"));
            }
        }
        Ok((status, body))
    }
}

/// `MOUNT`, `PATH` and `FIELD` of a name.
fn parts(name: &str) -> Result<(&str, &str, &str)> {
    let read = name.split_once('#').and_then(|(path, field)| {
        let (mount, path) = path.split_once('/')?;
        let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        let is_whole = is_plain(mount) && path.split('/').all(is_plain) && !field.is_empty();
        is_whole.then_some((mount, path, field))
    });
    read.ok_or_else(|| {
        Error::spec(format!("'{name}' names no secret of Vault"))
            .hint("write secret:vault/MOUNT/PATH#FIELD, as in secret:vault/kv/shop/api#token")
    })
}

#[async_trait]
impl SecretProvider for Vault {
    async fn read(&self, name: &str) -> Result<Secret> {
        let (mount, path, field) = parts(name)?;
        let (status, body) = self.ask(self.url(mount, path)?).await?;
        let failed = |kind, message: &str, hint: &str| {
            Err(Error::new(kind, message)
                .with("secret", name)
                .with("address", &self.address)
                .with("status", status)
                .hint(hint))
        };
        match status {
            200 => {}
            400 | 401 | 403 => {
                let hint =
                    "check VAULT_TOKEN: that it has not expired, and that its policy allows to read the path";
                return failed(ErrorKind::Auth, "Vault refuses to hand out the secret", hint);
            }
            404 => {
                let hint = "check mount and path, and that the mount is a KV engine of version 2";
                return failed(ErrorKind::NotFound, "Vault has no such secret", hint);
            }
            429 | 500..=599 => {
                let hint = "Vault is sealed, in standby or overloaded: see `vault status`";
                return failed(ErrorKind::Unavailable, "Vault cannot answer now", hint);
            }
            _ => {
                let hint = "check that VAULT_ADDR is the address of Vault itself";
                return failed(ErrorKind::Source, "Vault answers otherwise than it should", hint);
            }
        }
        // The cause is left out: it may quote what was read.
        let Ok(mut answer) = serde_json::from_slice::<Value>(&body) else {
            let hint = "check that VAULT_ADDR is the address of Vault itself";
            return failed(ErrorKind::Decode, "Vault's answer is not JSON", hint);
        };
        match answer["data"]["data"].get_mut(field).map(Value::take) {
            Some(Value::String(value)) if !value.is_empty() => Ok(Secret::new(value)),
            Some(Value::Number(value)) => Ok(Secret::new(value.to_string())),
            _ => failed(
                ErrorKind::NotFound,
                "the secret in Vault has no such field that is a text",
                "`vault kv get` shows its fields",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_protocol::conformance;
    use wiremock::matchers::{header, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    async fn server() -> MockServer {
        let server = MockServer::start().await;
        let answer = json!({ "data": { "data": { "token": "v4lue", "pin": 7, "none": null }, "metadata": { "version": 3 } } });
        Mock::given(path("/v1/kv/data/shop/api%20key"))
            .and(header("X-Vault-Token", "t0ken"))
            .and(header("X-Vault-Namespace", "team"))
            .respond_with(ResponseTemplate::new(200).set_body_json(answer))
            .mount(&server)
            .await;
        for (at, status) in [("closed", 403), ("sealed", 503), ("moved", 307)] {
            Mock::given(path(format!("/v1/kv/data/{at}")))
                .respond_with(ResponseTemplate::new(status).set_body_string("v4lue"))
                .mount(&server)
                .await;
        }
        Mock::given(path("/v1/kv/data/odd"))
            .respond_with(ResponseTemplate::new(200).set_body_string("v4lue, not JSON"))
            .mount(&server)
            .await;
        Mock::given(path("/v1/kv/data/large"))
            .respond_with(ResponseTemplate::new(200).set_body_bytes(vec![b' '; ANSWER_BYTES_MAX + 1]))
            .mount(&server)
            .await;
        server
    }

    #[tokio::test]
    async fn reads_fields_of_secrets() {
        let server = server().await;
        let vault = Vault::new(&server.uri(), Secret::new("t0ken"), Some("team".to_owned())).unwrap();
        let known = ("kv/shop/api key#token", "v4lue");
        conformance::secrets(&vault, known, "kv/shop/api key#none")
            .await
            .unwrap();
        conformance::secrets(&vault, known, "kv/nowhere#token")
            .await
            .unwrap();
        assert_eq!(vault.read("kv/shop/api key#pin").await.unwrap().expose(), "7");
        for (name, kind) in [
            ("kv/closed#token", ErrorKind::Auth),
            ("kv/sealed#token", ErrorKind::Unavailable),
            ("kv/moved#token", ErrorKind::Source),
            ("kv/odd#token", ErrorKind::Decode),
            ("kv/large#token", ErrorKind::Limit),
            ("kv#token", ErrorKind::Spec),
            ("kv/../sys#token", ErrorKind::Spec),
            ("kv/shop", ErrorKind::Spec),
        ] {
            let error = vault.read(name).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{name}: {error:?}");
            assert!(!format!("{error:?}").contains("v4lue"));
        }
    }

    #[tokio::test]
    async fn an_address_that_tells_others_is_refused() {
        for address in [
            "http://vault.example.com",
            "vault",
            "ftp://localhost",
            "http://10.0.0.1:8200",
        ] {
            Vault::new(address, Secret::new("t"), None).unwrap_err();
        }
        let gone = Vault::new("http://127.0.0.1:9", Secret::new("t0ken"), None).unwrap();
        let error = gone.read("kv/a#b").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(!format!("{error:?}").contains("t0ken"));
    }
}
