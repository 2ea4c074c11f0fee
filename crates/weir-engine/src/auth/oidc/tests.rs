//! Tokens that are wrong in one thing each, against a provider on loopback.

use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use weir_protocol::ErrorKind;
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;

// Made for these tests: `openssl ecparam -genkey -name prime256v1`.
const KEY: &str = include_str!("key.pem");
const X: &str = include_str!("key.x");
const Y: &str = include_str!("key.y");

fn proof() -> LoginProof {
    LoginProof {
        state: Secret::new("st4te"),
        nonce: Secret::new("n0nce"),
        verifier: Secret::new("v3rifier"),
    }
}

struct Rig {
    server: MockServer,
    oidc: Oidc,
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

impl Rig {
    async fn new(kid: &str) -> Self {
        let server = MockServer::start().await;
        let url = server.uri();
        let metadata = json!({
            "issuer": url, "authorization_endpoint": format!("{url}/auth"), "token_endpoint": format!("{url}/token"),
            "jwks_uri": format!("{url}/jwks"), "authorization_response_iss_parameter_supported": true,
        });
        let keys = json!({ "keys": [
            { "kty": "oct", "k": "c2VjcmV0", "kid": "shared" },
            { "kty": "EC", "crv": "P-256", "x": X.trim(), "y": Y.trim(), "kid": kid, "use": "sig", "alg": "ES256" },
        ] });
        for (at, body) in [("/.well-known/openid-configuration", metadata), ("/jwks", keys)] {
            Mock::given(path(at))
                .respond_with(ResponseTemplate::new(200).set_body_json(body))
                .mount(&server)
                .await;
        }
        let oidc = Oidc::new(OidcSettings {
            issuer: server.uri(),
            client_id: "weir".to_owned(),
            client_secret: Some(Secret::new("s3cret")),
            scopes: vec!["profile".to_owned()],
            allow_private_hosts: false,
        })
        .unwrap();
        Self { server, oidc }
    }

    fn good(&self) -> Value {
        json!({ "iss": self.server.uri(), "aud": "weir", "sub": "ali", "exp": now() + 600, "iat": now(), "nonce": "n0nce",
                "groups": ["ops"] })
    }

    async fn gives(&self, token: &str) -> Result<Identity> {
        let _answer = Mock::given(path("/token"))
            .respond_with(
                ResponseTemplate::new(200).set_body_json(json!({ "access_token": "a", "id_token": token })),
            )
            .mount_as_scoped(&self.server)
            .await;
        let iss = self.server.uri();
        let code = Secret::new("c0de");
        self.oidc
            .identify(&code, Some(&iss), "http://h/cb", &proof())
            .await
    }

    async fn claims(&self, claims: &Value) -> Result<Identity> {
        self.gives(&signed(claims, "one")).await
    }

    async fn asked(&self, at: &str) -> usize {
        let all = self.server.received_requests().await.unwrap();
        all.iter().filter(|request| request.url.path() == at).count()
    }
}

const RESOURCE: &str = "https://weir.example.com/mcp";

impl Rig {
    /// What a program shows.
    fn shown(&self) -> Value {
        json!({ "iss": self.server.uri(), "aud": [RESOURCE, "other"], "sub": "ali", "client_id": "claude",
                "exp": now() + 600, "scope": "runs:read  data:read", "groups": ["ops"] })
    }

    async fn reads(&self, token: &str) -> Result<Shown> {
        self.oidc.read_access_token(&Secret::new(token), RESOURCE).await
    }
}

fn signed(claims: &Value, kid: &str) -> String {
    typed(claims, kid, Some("JWT"))
}

fn typed(claims: &Value, kid: &str, kind: Option<&str>) -> String {
    let mut header = Header::new(jsonwebtoken::Algorithm::ES256);
    header.kid = Some(kid.to_owned());
    header.typ = kind.map(ToOwned::to_owned);
    jsonwebtoken::encode(
        &header,
        claims,
        &EncodingKey::from_ec_pem(KEY.as_bytes()).unwrap(),
    )
    .unwrap()
}

#[tokio::test]
async fn a_token_that_is_right_says_who_it_is() {
    let rig = Rig::new("one").await;
    let who = rig.claims(&rig.good()).await.unwrap();
    assert_eq!(
        (who.subject.as_str(), &who.claims["groups"]),
        ("ali", &json!(["ops"]))
    );
    rig.claims(&rig.good()).await.unwrap();
    assert_eq!(
        (
            rig.asked("/jwks").await,
            rig.asked("/.well-known/openid-configuration").await
        ),
        (1, 1)
    );
    let url = rig.oidc.authorize_url("http://h/cb", &proof()).await.unwrap();
    for part in [
        "nonce=n0nce",
        "state=st4te",
        "code_challenge_method=S256",
        "scope=openid+profile",
    ] {
        assert!(url.contains(part), "{url}");
    }
    assert_eq!(rig.oidc.logout_url("http://h/").await.unwrap(), None);
}

#[tokio::test]
async fn a_token_that_is_wrong_in_one_thing_is_refused() {
    let rig = Rig::new("one").await;
    for (name, value) in [
        ("nonce", json!("other")),
        ("nonce", json!(null)),
        ("aud", json!("other")),
        ("aud", json!(["weir", "other"])),
        ("azp", json!("other")),
        ("iss", json!("https://evil.example.com")),
        ("exp", json!(now() - 120)),
        ("nbf", json!(now() + 600)),
        ("sub", json!("")),
        ("sub", json!(null)),
        ("exp", json!(null)),
    ] {
        let mut claims = rig.good();
        claims[name] = value.clone();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        }
        let error = rig.claims(&claims).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Auth, "{name} {value}");
        assert!(!format!("{error:?}").contains("eyJ"), "{error:?}");
    }
}

/// The same claims, signed in ways that are worth nothing.
fn forged(claims: &Value) -> Vec<String> {
    let whole = signed(claims, "one");
    let parts: Vec<&str> = whole.split('.').collect();
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let by_secret = {
        let mut header = Header::new(jsonwebtoken::Algorithm::HS256);
        header.kid = Some("one".to_owned());
        // The public key as if it were a shared secret.
        let key = EncodingKey::from_secret(X.trim().as_bytes());
        jsonwebtoken::encode(&header, claims, &key).unwrap()
    };
    let mut other = claims.clone();
    other["sub"] = json!("admin");
    let none = json!({ "alg": "none", "typ": "JWT", "kid": "one" });
    vec![
        format!("{}.{}.", encode(none), parts[1]),
        by_secret,
        format!("{}.{}.{}", parts[0], encode(other), parts[2]),
        format!(
            "{}.{}.{}",
            encode(json!({ "alg": "RS256", "typ": "JWT", "kid": "one" })),
            parts[1],
            parts[2]
        ),
        "no token".to_owned(),
    ]
}

#[tokio::test]
async fn a_token_that_is_signed_otherwise_is_refused() {
    let rig = Rig::new("one").await;
    for token in forged(&rig.good()) {
        assert_eq!(
            rig.gives(&token).await.unwrap_err().kind(),
            ErrorKind::Auth,
            "{token}"
        );
    }
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_once_a_minute() {
    let rig = Rig::new("one").await;
    rig.claims(&rig.good()).await.unwrap();
    for _ in 0..5 {
        rig.gives(&signed(&rig.good(), "two")).await.unwrap_err();
    }
    assert_eq!(rig.asked("/jwks").await, 1);
    let new = Rig::new("two").await;
    new.gives(&signed(&new.good(), "two")).await.unwrap();
}

#[tokio::test]
async fn an_answer_of_another_provider_is_refused_before_its_code_is_shown_to_anybody() {
    let rig = Rig::new("one").await;
    for iss in [None, Some("https://evil.example.com")] {
        let code = Secret::new("c0de");
        let error = rig
            .oidc
            .identify(&code, iss, "http://h/cb", &proof())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
    }
    assert_eq!(rig.asked("/token").await, 0);
}

#[tokio::test]
async fn an_access_token_that_is_right_says_whose_it_is_and_for_what() {
    let rig = Rig::new("one").await;
    for kind in ["at+jwt", "application/AT+JWT", "JWT"] {
        let shown = rig.reads(&typed(&rig.shown(), "one", Some(kind))).await.unwrap();
        let scopes: Vec<&str> = shown.scopes.iter().map(String::as_str).collect();
        assert_eq!(
            (shown.identity.subject.as_str(), &shown.identity.claims["groups"]),
            ("ali", &json!(["ops"]))
        );
        assert_eq!(scopes, ["data:read", "runs:read"]);
        assert!(!shown.is_program && shown.ends_at_s > now() + 600);
    }
    // Neither what the provider says of itself nor its keys are read twice.
    let asked = (
        rig.asked("/jwks").await,
        rig.asked("/.well-known/openid-configuration").await,
    );
    assert_eq!(asked, (1, 1));
    let mut program = rig.shown();
    program["sub"] = json!("claude");
    program["scope"] = json!(null);
    program["scp"] = json!(["runs:read"]);
    let shown = rig.reads(&signed(&program, "one")).await.unwrap();
    assert!(shown.is_program && shown.scopes.len() == 1);
}

#[tokio::test]
async fn an_access_token_that_is_wrong_in_one_thing_is_refused() {
    let rig = Rig::new("one").await;
    for (name, value) in [
        ("aud", json!("weir")),
        ("aud", json!("https://weir.example.com/mcp/")),
        ("aud", json!(null)),
        ("iss", json!("https://evil.example.com")),
        ("exp", json!(now() - 120)),
        ("exp", json!(null)),
        ("nbf", json!(now() + 600)),
        ("sub", json!("")),
        ("sub", json!(null)),
    ] {
        let mut claims = rig.shown();
        claims[name] = value.clone();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        }
        let error = rig.reads(&signed(&claims, "one")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Auth, "{name} {value}");
        assert!(!format!("{error:?}").contains("eyJ"), "{error:?}");
    }
    let mut odd = forged(&rig.shown());
    odd.push(typed(&rig.shown(), "one", None));
    odd.push(typed(&rig.shown(), "one", Some("logout+jwt")));
    let mut header = Header::new(jsonwebtoken::Algorithm::ES256);
    header.kid = Some("one".to_owned());
    header.crit = Some(vec!["b64".to_owned()]);
    let key = EncodingKey::from_ec_pem(KEY.as_bytes()).unwrap();
    odd.push(jsonwebtoken::encode(&header, &rig.shown(), &key).unwrap());
    for token in odd {
        let error = rig.reads(&token).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Auth, "{token}");
    }
}

#[tokio::test]
async fn made_up_keys_and_a_provider_that_is_away_cost_one_question() {
    let rig = Rig::new("one").await;
    for _ in 0..5 {
        let error = rig.reads(&signed(&rig.shown(), "two")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Auth);
        rig.reads(&signed(&rig.shown(), "one")).await.unwrap();
    }
    assert_eq!(rig.asked("/jwks").await, 1);
    let away = Rig::new("one").await;
    away.server.reset().await;
    let token = signed(&away.shown(), "one");
    for _ in 0..5 {
        let error = away.reads(&token).await.unwrap_err();
        assert_ne!(error.kind(), ErrorKind::Auth);
    }
    assert_eq!(away.asked("/.well-known/openid-configuration").await, 1);
}

#[tokio::test]
async fn who_goes_away_while_the_keys_are_read_does_not_keep_others_from_them() {
    let rig = Rig::new("one").await;
    let token = signed(&rig.shown(), "two");
    // It is asked, and given up before there is an answer.
    let mut given_up = Box::pin(rig.reads(&token));
    assert!(futures::poll!(&mut given_up).is_pending());
    drop(given_up);
    rig.reads(&signed(&rig.shown(), "one")).await.unwrap();
    assert_eq!(rig.asked("/jwks").await, 1);
}
