//! One POST to a receiver: no redirects, no retries, a bounded answer, private addresses only where
//! they are allowed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use url::Url;
use weir_protocol::spec::Reliability;
use weir_protocol::{Error, ErrorKind, Result};

use crate::http::{
    Body, ClientSettings, HostRules, Outgoing, Patience, ReliabilityDefaults, Transport, retry_after,
};

const TIMEOUT: Duration = Duration::from_secs(15);
/// Nothing in an answer matters but its status.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// What a receiver answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posted {
    pub status: u16,
    pub retry_after: Option<Duration>,
}

/// Sends to public addresses, and to private ones where that is allowed.
#[derive(Clone)]
pub struct Poster {
    public: Arc<Transport>,
    private: Arc<Transport>,
}

impl fmt::Debug for Poster {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Poster")
    }
}

impl Poster {
    pub fn new() -> Result<Self> {
        Ok(Self {
            public: transport(false)?,
            private: transport(true)?,
        })
    }

    /// `url` may hold a secret: it is not shown.
    pub async fn post(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
        allow_private: bool,
    ) -> Result<Posted> {
        let url = Url::parse(url).map_err(|_| {
            Error::spec("the receiver's URL cannot be read")
                .hint("write it as in https://example.com/hooks/weir")
        })?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let mut out = Outgoing::new(Method::POST, url);
        out.repeatable = false;
        out.body = Body::Json(Bytes::from(body));
        for (name, value) in headers {
            out.set_header(name, *value);
        }
        let transport = if allow_private {
            &self.private
        } else {
            &self.public
        };
        let answer = transport
            .send(&out)
            .await
            .map_err(|error| told(&error, &host, allow_private))?;
        Ok(Posted {
            status: answer.status,
            retry_after: retry_after(&answer),
        })
    }
}

/// The path and query of a receiver's URL may be its secret: only the host is named.
fn told(error: &Error, host: &str, allow_private: bool) -> Error {
    let said = Error::new(error.kind(), error.message()).with("host", host);
    match error.kind() {
        ErrorKind::Denied if !allow_private => said.hint(
            "use https to a public host, or allow private addresses for this receiver if that is meant",
        ),
        _ => said.hint(
            error
                .next_step()
                .unwrap_or("check the receiver's URL, and that it is up")
                .to_owned(),
        ),
    }
}

fn transport(allow_private: bool) -> Result<Arc<Transport>> {
    let silent = Reliability::default();
    let defaults = ReliabilityDefaults {
        timeout: TIMEOUT,
        ..ReliabilityDefaults::default()
    };
    let mut patience = Patience::resolve(&silent, &silent, &defaults)?;
    patience.response_max_bytes = ANSWER_BYTES_MAX;
    Transport::new(&ClientSettings::new(HostRules::open(allow_private), patience))
}

#[cfg(test)]
mod tests {
    use wiremock::matchers::{body_string, header, method};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    #[tokio::test]
    async fn posts_what_it_is_given_and_follows_nothing() {
        let server = MockServer::start().await;
        let answer = ResponseTemplate::new(302)
            .insert_header("location", "/elsewhere")
            .insert_header("retry-after", "7");
        Mock::given(method("POST"))
            .and(header("content-type", "application/cloudevents+json"))
            .and(header("webhook-id", "1"))
            .and(body_string("{}"))
            .respond_with(answer)
            .expect(1)
            .mount(&server)
            .await;
        let headers = [
            ("webhook-id", "1"),
            ("content-type", "application/cloudevents+json"),
        ];
        let poster = Poster::new().unwrap();
        let posted = poster
            .post(&server.uri(), &headers, b"{}".to_vec(), true)
            .await
            .unwrap();
        let expected = Posted {
            status: 302,
            retry_after: Some(Duration::from_secs(7)),
        };
        assert_eq!(posted, expected);
    }

    #[tokio::test]
    async fn private_addresses_are_refused_unless_they_are_allowed() {
        let poster = Poster::new().unwrap();
        for url in [
            "https://127.0.0.1/token-in-path",
            "http://127.0.0.1/token-in-path",
            "https://localhost/token-in-path",
            "http://169.254.169.254/token-in-path",
        ] {
            let error = poster.post(url, &[], Vec::new(), false).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied, "{url}: {error}");
            assert!(!format!("{error:?}").contains("token-in-path"), "{error:?}");
        }
        let metadata = "http://169.254.169.254/latest";
        let error = poster.post(metadata, &[], Vec::new(), true).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
    }

    #[tokio::test]
    async fn a_large_answer_is_cut_off() {
        let server = MockServer::start().await;
        let answer = ResponseTemplate::new(200).set_body_string("x".repeat(1 << 20));
        Mock::given(method("POST"))
            .respond_with(answer)
            .mount(&server)
            .await;
        let poster = Poster::new().unwrap();
        let error = poster
            .post(&server.uri(), &[], Vec::new(), true)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
    }
}
