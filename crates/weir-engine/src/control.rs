//! A connection to weir's own control: a worker's calls over HTTPS.

use std::fmt;
use std::time::Duration;

use serde_json::Value;
use url::{Host, Url};
use weir_protocol::{Error, ErrorKind, Result, Secret};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A call waits until the server has its own store again, or says that it is gone.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Sends calls to one server, with one token.
pub struct ControlClient {
    address: Url,
    token: Secret,
    answer_bytes_max: usize,
    client: reqwest::Client,
}

impl fmt::Debug for ControlClient {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ControlClient({})", self.address)
    }
}

impl ControlClient {
    /// Plain HTTP is allowed to this machine alone. Where `ca_pem` is given, no other authority is trusted.
    pub fn new(address: &str, token: Secret, ca_pem: Option<&[u8]>, answer_bytes_max: usize) -> Result<Self> {
        let refuse = |why: &str| {
            Error::spec(format!("the address of the control {why}"))
                .with("address", address)
                .hint("write it as in https://weir.example.com:7373; plain http is for loopback only")
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
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                Error::spec("the address of the control holds a name or a password")
                    .hint("give the token apart: --token, or WEIR_TOKEN"),
            );
        }
        url.set_query(None);
        url.set_fragment(None);
        Ok(Self {
            address: url,
            token,
            answer_bytes_max,
            client: client(ca_pem)?,
        })
    }

    /// Sends a JSON body below the address, and gives back the JSON that was answered.
    pub async fn post(&self, path: &[&str], body: Vec<u8>) -> Result<Vec<u8>> {
        let mut url = self.address.clone();
        url.path_segments_mut()
            .map_err(|()| {
                Error::spec("the address of the control cannot have a path").hint("name an https URL")
            })?
            .pop_if_empty()
            .extend(path);
        let request = self
            .client
            .post(url)
            .header("Content-Type", "application/json")
            .bearer_auth(self.token.expose())
            .body(body);
        let failed = |error| self.failed(error);
        let mut answer = request.send().await.map_err(failed)?;
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > self.answer_bytes_max {
                return Err(Error::limit("the control's answer is larger than a worker takes")
                    .with("bytes_max", self.answer_bytes_max)
                    .hint("claim fewer runs at once"));
            }
            body.extend_from_slice(&chunk);
        }
        if status == 200 {
            Ok(body)
        } else {
            Err(self.refused(status, &body))
        }
    }

    fn failed(&self, error: reqwest::Error) -> Error {
        let is_slow = error.is_timeout() && !error.is_connect();
        let (kind, message) = if is_slow {
            (ErrorKind::Timeout, "the control does not answer in time")
        } else {
            (ErrorKind::Unavailable, "the control cannot be reached")
        };
        let error = error.without_url();
        let untrusted = format!("{error:?}").contains("InvalidCertificate");
        let hint = if untrusted {
            "its certificate is not trusted: name the file of its authority with --ca, and the host as the certificate has it"
        } else {
            "check the address, and that `weir serve` runs there"
        };
        // Who is not trusted will not be so in a minute.
        let kind = if untrusted { ErrorKind::Denied } else { kind };
        Error::new(kind, message)
            .with("address", &self.address)
            .caused_by(error)
            .hint(hint)
    }

    /// What a server, or something in between, answered instead.
    fn refused(&self, status: u16, body: &[u8]) -> Error {
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        let word = problem["type"]
            .as_str()
            .and_then(|kind| kind.strip_prefix("urn:weir:error:"));
        let named = word.and_then(|word| serde_json::from_value::<ErrorKind>(word.into()).ok());
        let kind = match (status, named) {
            (401, _) => ErrorKind::Auth,
            (429, _) => ErrorKind::Unavailable,
            (_, Some(kind)) => kind,
            (404 | 405, None) => ErrorKind::Usage,
            (502..=504, None) => ErrorKind::Unavailable,
            (_, None) => ErrorKind::Internal,
        };
        let Some(detail) = problem["detail"].as_str().filter(|_| named.is_some()) else {
            return Error::new(kind, "the control's address answers otherwise than weir does")
                .with("address", &self.address)
                .with("status", status)
                .hint("check that the address is that of `weir serve`, of the worker's version or newer");
        };
        let context: Vec<String> = problem["context"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some(format!("{key}: {}", value.as_str()?)))
            .collect();
        let message = if context.is_empty() {
            detail.to_owned()
        } else {
            format!("{detail} ({})", context.join(", "))
        };
        let error = Error::new(kind, message);
        match problem["next_step"].as_str() {
            Some(hint) => error.hint(hint),
            None => error.hint("the server's log says more"),
        }
    }
}

fn client(ca_pem: Option<&[u8]>) -> Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT);
    if let Some(pem) = ca_pem {
        let roots = reqwest::Certificate::from_pem_bundle(pem).map_err(|error| {
            Error::spec("the authority's certificate cannot be read")
                .caused_by(error)
                .hint("--ca names a file with certificates in PEM form")
        })?;
        if roots.is_empty() {
            return Err(Error::spec("the file of the authority holds no certificate")
                .hint("--ca names a file with certificates in PEM form"));
        }
        builder = builder.tls_certs_only(roots);
    }
    builder.build().map_err(|error| {
        Error::internal("HTTP client cannot be built")
            .caused_by(error)
            .hint("check the machine's TLS set-up")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wiremock::matchers::{header, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    async fn answered(status: u16, body: Value) -> Result<Vec<u8>> {
        let server = MockServer::start().await;
        Mock::given(path("/base/worker/v1/hello"))
            .and(header("authorization", "Bearer t0ken"))
            .respond_with(ResponseTemplate::new(status).set_body_json(body))
            .mount(&server)
            .await;
        let address = format!("{}/base/", server.uri());
        let client = ControlClient::new(&address, Secret::new("t0ken"), None, 1000).unwrap();
        client.post(&["worker", "v1", "hello"], b"{}".to_vec()).await
    }

    #[tokio::test]
    async fn what_the_server_says_is_told_with_its_kind() {
        assert_eq!(answered(200, json!({})).await.unwrap(), b"{}");
        let problem = |kind: &str| json!({ "type": format!("urn:weir:error:{kind}"), "detail": "no", "next_step": "yes", "context": { "run": "r" } });
        for (status, body, kind) in [
            (401, problem("auth"), ErrorKind::Auth),
            (409, problem("conflict"), ErrorKind::Conflict),
            (503, problem("unavailable"), ErrorKind::Unavailable),
            (504, json!("proxy"), ErrorKind::Unavailable),
            (404, json!("nginx"), ErrorKind::Usage),
            (200, json!("x".repeat(1000)), ErrorKind::Limit),
        ] {
            let error = answered(status, body).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{status}: {error:?}");
            assert!(error.next_step().is_some() && !format!("{error:?}").contains("t0ken"));
        }
        let said = answered(409, problem("conflict")).await.unwrap_err();
        assert_eq!((said.message(), said.next_step()), ("no (run: r)", Some("yes")));
    }

    #[tokio::test]
    async fn an_address_that_tells_others_is_refused() {
        for address in [
            "http://weir.example.com",
            "weir",
            "ftp://localhost",
            "http://10.0.0.1:7373",
            "https://a:b@c",
        ] {
            ControlClient::new(address, Secret::new("t"), None, 1).unwrap_err();
        }
        let gone = ControlClient::new("http://127.0.0.1:9", Secret::new("t0ken"), None, 1).unwrap();
        let error = gone.post(&["x"], Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        ControlClient::new("https://c", Secret::new("t"), Some(b"no PEM"), 1).unwrap_err();
    }
}
