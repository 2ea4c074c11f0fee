//! Every method against a server on loopback.

use std::sync::Mutex;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use url::Url;
use weir_protocol::spec::Reliability;
use weir_protocol::{ErrorKind, connection::Credential};
use wiremock::matchers::{any, body_string_contains, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::http::tests::TestClock;
use crate::http::{ClientSettings, Clock, HostRules, Patience, ReliabilityDefaults};

struct Rig {
    specs: Vec<AuthSpec>,
    credential: Option<Credential>,
    base_url: String,
    clock: Arc<TestClock>,
    rotated: Arc<Mutex<Vec<String>>>,
}

/// Knows `{{ credential.x }}` and `{{ session.token }}`, which is all that is needed here.
fn render(credential: Option<Credential>) -> Render {
    Arc::new(move |template, names| {
        let mut text = template.to_owned();
        for (name, secret) in credential.iter().flat_map(|credential| &credential.values) {
            text = text.replace(&format!("{{{{ credential.{name} }}}}"), secret.expose());
        }
        if let Some(token) = names.get("session").and_then(|session| session["token"].as_str()) {
            text = text.replace("{{ session.token }}", token);
        }
        Ok(text)
    })
}

impl Rig {
    fn new(specs: Value, credential: Value) -> Self {
        Self {
            specs: serde_json::from_value(specs).unwrap(),
            credential: serde_json::from_value(credential).unwrap(),
            base_url: String::new(),
            clock: Arc::default(),
            rotated: Arc::default(),
        }
    }

    fn build(&self) -> Result<Arc<dyn Authenticator>> {
        let silent = Reliability::default();
        let patience = Patience::resolve(&silent, &silent, &ReliabilityDefaults::default())?;
        let mut settings = ClientSettings::new(HostRules::new(&["127.0.0.1"], true)?, patience);
        settings.clock = self.clock.clone();
        let rotated = self.rotated.clone();
        build(&AuthInput {
            specs: &self.specs,
            credential: self.credential.as_ref(),
            connection: "acme",
            base_url: &self.base_url,
            render: render(self.credential.clone()),
            transport: Transport::new(&settings)?,
            on_rotated: Some(Arc::new(move |token| {
                rotated.lock().unwrap().push(token.expose().to_owned());
            })),
            tokens: None,
        })
    }

    fn refused(&self) -> Error {
        self.build().err().expect("it was built")
    }
}

async fn signed(auth: &Arc<dyn Authenticator>) -> Outgoing {
    let mut out = Outgoing::get(Url::parse("https://h/?a=1").unwrap());
    auth.sign(&mut out).await.unwrap();
    out
}

/// URL and headers of a signed request.
fn shown(out: &Outgoing) -> String {
    let headers: Vec<String> = out
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    format!("{} {}", out.url, headers.join(", "))
}

#[tokio::test]
async fn fixed_methods_sign() {
    let credential = json!({ "user": "ali", "pass": "open sesame", "token": "t0k3n" });
    for (spec, expected) in [
        (json!({ "method": "none" }), "https://h/?a=1 "),
        (
            json!({ "method": "basic", "username": "{{ credential.user }}", "password": "{{ credential.pass }}" }),
            "https://h/?a=1 Authorization: Basic YWxpOm9wZW4gc2VzYW1l",
        ),
        (
            json!({ "method": "bearer", "token": "{{ credential.token }}" }),
            "https://h/?a=1 Authorization: Bearer t0k3n",
        ),
        (
            json!({ "method": "bearer", "token": "{{ credential.token }}", "scheme": "Token" }),
            "https://h/?a=1 Authorization: Token t0k3n",
        ),
        (
            json!({ "method": "api_key", "in": "query", "name": "key", "value": "{{ credential.token }}" }),
            "https://h/?a=1&key=t0k3n ",
        ),
        (
            json!({ "method": "api_key", "in": "cookie", "name": "sid", "value": "{{ credential.token }}" }),
            "https://h/?a=1 Cookie: sid=t0k3n",
        ),
    ] {
        let auth = Rig::new(json!([spec]), credential.clone()).build().unwrap();
        assert_eq!(shown(&signed(&auth).await), expected);
    }
}

#[test]
fn what_is_missing_is_named_with_its_place() {
    let bearer = json!({ "method": "bearer", "token": "{{ credential.token }}" });
    let basic = json!({ "method": "basic", "username": "{{ credential.user }}" });
    let error = Rig::new(json!([bearer]), json!(null)).refused();
    insta::assert_snapshot!(format!("{error:?}"), @"[auth] credential.token is not set (connection: acme) -> set credential.token in connections/acme.yaml, best as a reference: ${NAME}");
    let error = Rig::new(json!([bearer, basic]), json!(null)).refused();
    insta::assert_snapshot!(format!("{error:?}"), @"[auth] no credential is set (connection: acme) -> set credential in connections/acme.yaml, with method: bearer or basic");
    let error = Rig::new(json!([bearer, basic]), json!({ "token": "x" })).refused();
    insta::assert_snapshot!(format!("{error:?}"), @"[spec] the credential does not say which auth method it is for (connection: acme) -> set credential.method in connections/acme.yaml to one of: bearer, basic");
    let error = Rig::new(json!([bearer]), json!({ "method": "magic" })).refused();
    insta::assert_snapshot!(format!("{error:?}"), @"[spec] the connector knows no auth method 'magic' (connection: acme) -> set credential.method in connections/acme.yaml to one of: bearer");
    let error = Rig::new(json!([]), json!({ "method": "magic" })).refused();
    insta::assert_snapshot!(format!("{error:?}"), @"[spec] the connector knows no auth method 'magic' (connection: acme) -> the connector has no auth method at all: remove credential from connections/acme.yaml, or say by auth: in its config (or in the connector's file) how requests are signed");
}

fn oauth2(server: &MockServer, grant: &str) -> Rig {
    let spec = json!({ "method": "oauth2", "grant": grant, "token_url": format!("{}/token", server.uri()) });
    let credential = json!({ "client_id": "id", "client_secret": "s3cret", "refresh_token": "old-refresh" });
    Rig::new(json!([spec]), credential)
}

#[tokio::test]
async fn many_requests_fetch_one_token_and_expiry_fetches_the_next() {
    let server = MockServer::start().await;
    let answer = json!({ "access_token": "first", "expires_in": 3600 });
    Mock::given(path("/token"))
        .and(body_string_contains("grant_type=client_credentials"))
        .respond_with(ResponseTemplate::new(200).set_body_json(answer))
        .mount(&server)
        .await;
    let rig = oauth2(&server, "client_credentials");
    let auth = rig.build().unwrap();
    let all = futures::future::join_all((0..20).map(|_| signed(&auth))).await;
    assert!(all.iter().all(|out| shown(out).contains("Bearer first")));
    let asked = || async { server.received_requests().await.unwrap().len() };
    assert_eq!(asked().await, 1);
    // Many refusals of one token cause one new one.
    let renewed = futures::future::join_all((0..5).map(|_| auth.renew(Generation(1)))).await;
    assert!(renewed.into_iter().all(|renewed| renewed.unwrap()));
    assert_eq!(asked().await, 2);
    rig.clock.sleep(Duration::from_secs(3_539)).await;
    signed(&auth).await;
    assert_eq!(asked().await, 2);
    rig.clock.sleep(Duration::from_secs(2)).await;
    signed(&auth).await;
    assert_eq!(asked().await, 3);
    assert!(auth.secrets().contains(&Secret::new("first")));
}

#[tokio::test]
async fn a_rotated_refresh_token_is_used_and_handed_on() {
    let server = MockServer::start().await;
    let answer = json!({ "access_token": "a", "expires_in": 60, "refresh_token": "new-refresh" });
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200).set_body_json(answer))
        .mount(&server)
        .await;
    let rig = oauth2(&server, "authorization_code");
    let auth = rig.build().unwrap();
    signed(&auth).await;
    auth.renew(Generation(1)).await.unwrap();
    let asked = server.received_requests().await.unwrap();
    let bodies: Vec<_> = asked
        .iter()
        .map(|request| String::from_utf8_lossy(&request.body).into_owned())
        .collect();
    assert!(
        bodies[0].contains("refresh_token=old-refresh") && bodies[1].contains("refresh_token=new-refresh")
    );
    assert_eq!(*rig.rotated.lock().unwrap(), ["new-refresh"]);
}

#[tokio::test]
async fn an_invalid_grant_says_what_to_do_and_is_asked_once() {
    let server = MockServer::start().await;
    let answer = json!({ "error": "invalid_grant", "error_description": "old-refresh has expired" });
    Mock::given(any())
        .respond_with(ResponseTemplate::new(400).set_body_json(answer))
        .mount(&server)
        .await;
    let auth = oauth2(&server, "refresh_token").build().unwrap();
    for _ in 0..3 {
        let mut out = Outgoing::get(Url::parse("https://h/").unwrap());
        let error = auth.sign(&mut out).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Auth);
        assert!(
            error.to_string().contains("refused: invalid_grant")
                && !error.to_string().contains("old-refresh")
        );
        assert!(
            error.next_step().unwrap().contains("authorise again"),
            "{error:?}"
        );
    }
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_failing_token_endpoint_is_tried_again() {
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(502))
        .up_to_n_times(2)
        .mount(&server)
        .await;
    let answer = json!({ "access_token": "late" });
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200).set_body_json(answer))
        .mount(&server)
        .await;
    let auth = oauth2(&server, "client_credentials").build().unwrap();
    assert!(shown(&signed(&auth).await).contains("Bearer late"));
}

#[tokio::test]
async fn a_session_logs_in_and_signs() {
    let server = MockServer::start().await;
    let answer = json!({ "data": { "token": "sess-1" } });
    Mock::given(path("/login"))
        .and(body_string_contains("\"user\":\"ali\""))
        .respond_with(ResponseTemplate::new(200).set_body_json(answer))
        .mount(&server)
        .await;
    let login = json!({ "path": "/login", "json": { "user": "{{ credential.user }}" } });
    let spec = json!({
        "method": "session", "login": { "request": login, "token_path": "data.token" },
        "name": "X-Session", "value": "id={{ session.token }}"
    });
    let mut rig = Rig::new(json!([spec]), json!({ "user": "ali" }));
    rig.base_url = server.uri();
    let auth = rig.build().unwrap();
    assert!(shown(&signed(&auth).await).contains("X-Session: id=sess-1"));
}

#[tokio::test]
async fn a_jwt_is_sent_itself_or_exchanged() {
    let claims = json!({ "iss": "{{ credential.email }}", "scope": "read", "aud": "https://aud.example" });
    let credential = json!({ "email": "bot@example.com", "key": "a-shared-key-of-some-length-0123456789" });
    let mut spec = json!({ "method": "jwt", "algorithm": "HS256", "key": "{{ credential.key }}", "claims": claims, "headers": { "kid": "k1" } });
    let auth = Rig::new(json!([spec]), credential.clone()).build().unwrap();
    let out = shown(&signed(&auth).await);
    let payload = out.split('.').nth_back(1).unwrap();
    let payload: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    assert_eq!(payload["iss"], "bot@example.com");
    assert_eq!(
        payload["exp"].as_i64().unwrap() - payload["iat"].as_i64().unwrap(),
        3600
    );

    let server = MockServer::start().await;
    Mock::given(body_string_contains(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=",
    ))
    .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "access_token": "exchanged" })))
    .mount(&server)
    .await;
    spec["token_url"] = json!(server.uri());
    let auth = Rig::new(json!([spec]), credential).build().unwrap();
    assert!(shown(&signed(&auth).await).contains("Bearer exchanged"));
}

#[test]
fn a_broken_private_key_is_explained() {
    let spec = json!({ "method": "jwt", "algorithm": "RS256", "key": "{{ credential.key }}", "claims": {} });
    let error = Rig::new(json!([spec]), json!({ "key": "no pem" })).refused();
    assert_eq!(error.kind(), ErrorKind::Auth);
    assert!(error.next_step().unwrap().contains("BEGIN and END"), "{error:?}");
}

/// What a Google service account sends: a token signed with its private key, which whoever holds
/// the public one can verify.
#[tokio::test]
async fn a_service_account_s_token_is_verified_with_its_public_key() {
    let pem = include_str!("../../tests/keys/rsa.key");
    let public = include_bytes!("../../tests/keys/rsa.pub");
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "access_token": "exchanged" })))
        .mount(&server)
        .await;
    let spec = json!({ "method": "jwt", "algorithm": "RS256", "key": "{{ credential.key }}", "token_url": server.uri(),
        "headers": { "kid": "k1" }, "claims": { "iss": "{{ credential.email }}", "aud": "https://aud.example" } });
    // As it stands in an environment variable: one line, its line ends written out.
    let key = pem.replace('\n', "\\n");
    let credential = json!({ "email": "bot@example.com", "key": key });
    let auth = Rig::new(json!([spec]), credential).build().unwrap();
    assert!(shown(&signed(&auth).await).contains("Bearer exchanged"));

    let requests = server.received_requests().await.unwrap();
    let form: std::collections::HashMap<String, String> = url::form_urlencoded::parse(&requests[0].body)
        .into_owned()
        .collect();
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    rules.set_audience(&["https://aud.example"]);
    // The rig's clock stands still.
    rules.validate_exp = false;
    let verify = |token: &str| {
        let key = jsonwebtoken::DecodingKey::from_rsa_pem(public).unwrap();
        jsonwebtoken::decode::<Value>(token, &key, &rules)
    };
    let token = verify(&form["assertion"]).unwrap();
    assert_eq!(token.claims["iss"], "bot@example.com");
    assert_eq!(token.header.kid.as_deref(), Some("k1"));
    let (signed, _) = form["assertion"].rsplit_once('.').unwrap();
    assert!(verify(&format!("{signed}.AAAA")).is_err());
}

/// The vector of the specification's own reference libraries.
#[tokio::test]
async fn messages_are_signed_as_standard_webhooks_has_it() {
    let specs = json!([{ "method": "standard_webhooks" }]);
    let credential = json!({ "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" });
    let signature = standard_webhooks::signature(
        &aws_lc_rs::hmac::Key::new(
            aws_lc_rs::hmac::HMAC_SHA256,
            &base64::engine::general_purpose::STANDARD
                .decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
                .unwrap(),
        ),
        ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330),
        br#"{"test": 2432232314}"#,
    );
    assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    let auth = Rig::new(specs.clone(), credential).build().unwrap();
    let mut out = Outgoing::get(Url::parse("https://h/").unwrap());
    out.set_header("webhook-id", "msg_1");
    auth.sign(&mut out).await.unwrap();
    let headers = shown(&out);
    assert!(
        headers.contains("webhook-id: msg_1") && headers.contains("webhook-timestamp: 1795255200"),
        "{headers}"
    );
    assert!(headers.contains("webhook-signature: v1,"), "{headers}");
    let mut own = Outgoing::get(Url::parse("https://h/").unwrap());
    auth.sign(&mut own).await.unwrap();
    assert!(shown(&own).contains("webhook-id: msg_"));
    for wrong in ["whsec_c2hvcnQ=", "no base64!", ""] {
        let error = Rig::new(specs.clone(), json!({ "secret": wrong })).refused();
        assert_eq!(error.kind(), ErrorKind::Auth);
        assert!(wrong.is_empty() || !format!("{error:?}").contains(wrong));
    }
}
