//! Signatures as the vendors' own documentation has them, whole, changed and too old.

use aws_lc_rs::hmac::{self, HMAC_SHA1_FOR_LEGACY_USE_ONLY, HMAC_SHA256, Key};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use serde_json::json;
use std::sync::{Arc, Mutex};
use weir_protocol::hook::{Inbox, Received};
use weir_protocol::spec::ConnectorSpec;
use weir_protocol::state::WHOLE;
use weir_protocol::{ErrorKind, ReadEvent, ReadMode, ReadRequest, Source, StateChange, StreamState};

use super::*;

const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
const AT_S: i64 = 1_531_420_618;

fn connector(hook: Value) -> Connector {
    let spec: ConnectorSpec = serde_json::from_value(json!({
        "spec": 1, "connector": "test", "version": "1.0.0", "name": { "en": "Test" },
        "hosts": ["api.example"], "http": { "base_url": "https://api.example" }, "hook": hook,
    }))
    .unwrap();
    spec.validate().unwrap();
    Connector::new(spec)
}

fn connection(secret: &str) -> ConnectionSpec {
    serde_json::from_value(json!({
        "connection": "shop", "connector": "test",
        "credential": { "webhook_secret": secret, "verify_token": "open sesame" },
    }))
    .unwrap()
}

fn receiver_with(hook: Value, secret: &str) -> HookReceiver {
    let settings = EngineSettings::default();
    let made = HookReceiver::connect(&connector(hook), &connection(secret), &settings);
    made.unwrap().unwrap()
}

fn receiver(scheme: &str) -> HookReceiver {
    let mut signature = json!({ "scheme": scheme, "secret": "{{ credential.webhook_secret }}" });
    if scheme == "meta" {
        signature["verify_token"] = json!("{{ credential.verify_token }}");
    }
    receiver_with(json!({ "signature": signature }), SECRET)
}

fn post(headers: &[(&str, &str)], body: &str) -> Arrived {
    Arrived {
        method: "POST".to_owned(),
        url: "https://weir.example/hooks/shop".to_owned(),
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        at: Timestamp::from_second(AT_S).unwrap(),
    }
}

fn sha256(secret: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&Key::new(HMAC_SHA256, secret), text.as_bytes())
        .as_ref()
        .to_vec()
}

fn refused(receiver: &HookReceiver, arrived: &Arrived) -> Error {
    let error = receiver.take(arrived).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
    error
}

/// The message is taken as it is, and not with a changed body, with another secret, unsigned, or too late.
fn holds(receiver: &HookReceiver, right: &Arrived, signature: &str, is_timed: bool) {
    assert!(matches!(receiver.take(right).unwrap(), Taken::Messages(_)));
    let mut changed = right.clone();
    let mut body = right.body.to_vec();
    let last = body.len() - 2;
    body[last] ^= 1;
    changed.body = body.into();
    refused(receiver, &changed);
    let mut unsigned = right.clone();
    unsigned.headers.retain(|(name, _)| name != signature);
    refused(receiver, &unsigned);
    let mut garbage = right.clone();
    for (name, value) in &mut garbage.headers {
        if name == signature {
            *value = "é, =,t=1,v1=zz v0= v1,%".to_owned();
        }
    }
    refused(receiver, &garbage);
    for off_s in [-301, 301] {
        let mut late = right.clone();
        late.at = Timestamp::from_second(AT_S + off_s).unwrap();
        if is_timed {
            assert!(refused(receiver, &late).to_string().contains("too long ago"));
        } else {
            assert!(receiver.take(&late).is_ok());
        }
    }
}

#[test]
fn slack_signs_as_its_documentation_shows() {
    // The example of docs.slack.dev: secret, body and signature are theirs.
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&\
                channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&\
                response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
                &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let mut right = post(
        &[
            ("content-type", "application/x-www-form-urlencoded"),
            ("x-slack-request-timestamp", "1531420618"),
            (
                "x-slack-signature",
                "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
            ),
        ],
        body,
    );
    holds(&receiver("slack"), &right, "x-slack-signature", true);
    let Taken::Messages(messages) = receiver("slack").take(&right).unwrap() else {
        panic!()
    };
    assert!(messages[0].body.contains("\"command\":\"/webhook-collect\""));

    let asked =
        r#"{"type":"url_verification","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"}"#;
    let digits = hex(&sha256(SECRET.as_bytes(), &format!("v0:{AT_S}:{asked}")));
    right = post(
        &[
            ("x-slack-request-timestamp", "1531420618"),
            ("x-slack-signature", &format!("v0={digits}")),
        ],
        asked,
    );
    let challenge = "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P".to_owned();
    assert_eq!(receiver("slack").take(&right).unwrap(), Taken::Answer(challenge));
    right.headers.pop();
    refused(&receiver("slack"), &right);
}

#[test]
fn github_signs_as_its_documentation_shows() {
    // The values of docs.github.com, "Testing the webhook payload validation".
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let hook = json!({ "signature": { "scheme": "github", "secret": "{{ credential.webhook_secret }}" } });
    let receiver = receiver_with(hook, "It's a Secret to Everybody");
    let right = post(
        &[("content-type", "text/plain"), ("x-hub-signature-256", signature)],
        "Hello, World!",
    );
    // Signed right, and no JSON.
    assert_eq!(receiver.take(&right).unwrap_err().kind(), ErrorKind::Usage);
    let body = r#"{"zen":"Design for failure."}"#;
    let digits = hex(&sha256(b"It's a Secret to Everybody", body));
    let right = post(&[("x-hub-signature-256", &format!("sha256={digits}"))], body);
    holds(&receiver, &right, "x-hub-signature-256", false);
}

#[test]
fn twilio_signs_the_address_and_the_sorted_fields() {
    // The example of twilio.com/docs/usage/security.
    let hook = json!({ "signature": { "scheme": "twilio", "secret": "{{ credential.webhook_secret }}" } });
    let receiver = receiver_with(hook.clone(), "12345");
    let fields =
        "Digits=1234&To=%2B18005551212&From=%2B14158675309&Caller=%2B14158675309&CallSid=CA1234567890ABCDE";
    let mut right = post(
        &[
            ("content-type", "application/x-www-form-urlencoded"),
            ("x-twilio-signature", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        ],
        fields,
    );
    right.url = "https://mycompany.com/myapp.php?foo=1&bar=2".to_owned();
    holds(&receiver, &right, "x-twilio-signature", false);
    let mut elsewhere = right.clone();
    elsewhere.url = "https://mycompany.com/myapp.php?foo=1&bar=3".to_owned();
    refused(&receiver, &elsewhere);
    // Signed with the port in the address.
    let key = Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"12345");
    let signed = hmac::sign(&key, b"https://weir.example:443/hooks/shopSidS1");
    let signed = STANDARD.encode(signed.as_ref());
    let form = ("content-type", "application/x-www-form-urlencoded");
    receiver
        .take(&post(&[form, ("x-twilio-signature", &signed)], "Sid=S1"))
        .unwrap();
}

#[test]
fn twilio_signs_json_by_its_digest_in_the_address() {
    let hook = json!({ "signature": { "scheme": "twilio", "secret": "{{ credential.webhook_secret }}" } });
    let receiver = receiver_with(hook, "12345");
    let body = r#"{"property":"value"}"#;
    let url = format!(
        "https://weir.example/hooks/shop?bodySHA256={}",
        hex(&Sha256::digest(body))
    );
    let signed = hmac::sign(&Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"12345"), url.as_bytes());
    let mut right = post(&[("x-twilio-signature", &STANDARD.encode(signed.as_ref()))], body);
    right.url = url;
    holds(&receiver, &right, "x-twilio-signature", false);
}

#[test]
fn the_other_schemes_hold() {
    let body = r#"{"id":"evt_1","type":"invoice.paid"}"#;
    let hex_of = |text: &str| hex(&sha256(SECRET.as_bytes(), text));

    let stripe = format!("t={AT_S},v1=00ff,v1={},v0=ab", hex_of(&format!("{AT_S}.{body}")));
    holds(
        &receiver("stripe"),
        &post(&[("stripe-signature", &stripe)], body),
        "stripe-signature",
        true,
    );

    let meta = format!("sha256={}", hex_of(body));
    holds(
        &receiver("meta"),
        &post(&[("x-hub-signature-256", &meta)], body),
        "x-hub-signature-256",
        false,
    );
    holds(
        &receiver("notion"),
        &post(&[("x-notion-signature", &meta)], body),
        "x-notion-signature",
        false,
    );

    let at_ms = format!("{AT_S}123");
    let url = "https://weir.example/hooks/shop?to=a:b/c";
    let text = format!("POST{url}{body}{at_ms}");
    let hubspot = STANDARD.encode(sha256(SECRET.as_bytes(), &text));
    let mut right = post(
        &[
            ("x-hubspot-signature-v3", &hubspot),
            ("x-hubspot-request-timestamp", &at_ms),
        ],
        body,
    );
    right.url = "https://weir.example/hooks/shop?to=a%3Ab%2fc".to_owned();
    holds(&receiver("hubspot"), &right, "x-hubspot-signature-v3", true);

    let key: Vec<u8> = (0..32).collect();
    let secret = format!("whsec_{}", STANDARD.encode(&key));
    let hook = json!({ "signature": { "scheme": "standard_webhooks", "secret": "{{ credential.webhook_secret }}" } });
    let signed = STANDARD.encode(sha256(&key, &format!("msg_1.{AT_S}.{body}")));
    let at = AT_S.to_string();
    let right = post(
        &[
            ("webhook-id", "msg_1"),
            ("webhook-timestamp", &at),
            ("webhook-signature", &format!("v1a,xx v1,AAAA v1,{signed}")),
        ],
        body,
    );
    holds(&receiver_with(hook, &secret), &right, "webhook-signature", true);

    let hook = json!({ "signature": {
        "scheme": "hmac", "secret": "{{ credential.webhook_secret }}", "header": "X-Cal-Signature-256",
    } });
    let right = post(&[("x-cal-signature-256", &hex_of(body))], body);
    holds(&receiver_with(hook, SECRET), &right, "x-cal-signature-256", false);
}

#[test]
fn two_secrets_hold_while_one_is_exchanged() {
    let body = r#"{"a":1}"#;
    let hook = json!({ "signature": { "scheme": "github", "secret": "{{ credential.webhook_secret }}" } });
    let receiver = receiver_with(hook.clone(), "new-one\n old-one\n");
    for secret in ["new-one", "old-one"] {
        let signature = format!("sha256={}", hex(&sha256(secret.as_bytes(), body)));
        receiver
            .take(&post(&[("x-hub-signature-256", &signature)], body))
            .unwrap();
    }
    let none = HookReceiver::connect(&connector(hook), &connection("  "), &EngineSettings::default());
    assert_eq!(none.err().unwrap().kind(), ErrorKind::Auth);
}

#[test]
fn a_connection_says_whether_events_have_the_body() {
    let body = r#"{"a":1}"#;
    let told = |of_connector: bool, of_connection: Option<bool>| {
        let hook = json!({
            "signature": { "scheme": "github", "secret": "{{ credential.webhook_secret }}" },
            "tells_body": of_connector,
        });
        let mut connection = connection(SECRET);
        connection.hook.tells_body = of_connection;
        let made = HookReceiver::connect(&connector(hook), &connection, &EngineSettings::default());
        let signature = format!("sha256={}", hex(&sha256(SECRET.as_bytes(), body)));
        match made
            .unwrap()
            .unwrap()
            .take(&post(&[("x-hub-signature-256", &signature)], body))
        {
            Ok(Taken::Messages(messages)) => messages[0].tells_body,
            other => panic!("{other:?}"),
        }
    };
    assert!(told(false, Some(true)) && told(true, None));
    assert!(!told(true, Some(false)) && !told(false, None));
}

#[test]
fn a_connection_that_receives_nothing_says_nothing_of_messages() {
    let silent: ConnectorSpec = serde_json::from_value(json!({
        "spec": 1, "connector": "test", "version": "1.0.0", "name": { "en": "Test" },
        "hosts": ["api.example"], "http": { "base_url": "https://api.example" },
    }))
    .unwrap();
    let mut connection = connection(SECRET);
    connection.hook.tells_body = Some(true);
    let error = crate::connect(&Connector::new(silent), &connection, &EngineSettings::default())
        .map(drop)
        .unwrap_err();
    assert!(error.to_string().contains("takes none"), "{error}");
}

#[test]
fn meta_asks_whether_somebody_is_there() {
    let ask = |query: &str| {
        let mut asked = post(&[], "");
        asked.method = "GET".to_owned();
        asked.url = format!("https://weir.example/hooks/shop?hub.mode=subscribe&{query}");
        receiver("meta").take(&asked)
    };
    let right = ask("hub.verify_token=open+sesame&hub.challenge=1158201444").unwrap();
    assert_eq!(right, Taken::Answer("1158201444".to_owned()));
    let wrong = ask("hub.verify_token=open&hub.challenge=1158201444").unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Auth);
    assert_eq!(ask("").unwrap_err().kind(), ErrorKind::Usage);
    // Nobody else asks so.
    let mut asked = post(&[], "");
    asked.method = "GET".to_owned();
    assert_eq!(
        receiver("github").take(&asked).unwrap_err().kind(),
        ErrorKind::Usage
    );
}

#[test]
fn messages_name_themselves_by_header_by_path_or_by_what_they_say() {
    let signature = json!({ "scheme": "github", "secret": "{{ credential.webhook_secret }}" });
    let take = |hook: Value, body: &str| {
        let signed = format!("sha256={}", hex(&sha256(SECRET.as_bytes(), body)));
        let arrived = post(
            &[
                ("x-hub-signature-256", &signed),
                ("x-github-delivery", "72d3162e"),
                ("x-github-event", "issues"),
            ],
            body,
        );
        match receiver_with(hook, SECRET).take(&arrived).unwrap() {
            Taken::Messages(messages) => messages,
            other => panic!("{other:?}"),
        }
    };
    let by_header = json!({ "signature": signature, "kind": { "header": "X-GitHub-Event" } });
    assert_eq!(take(by_header, r#"{"n":1}"#)[0].kind.as_deref(), Some("issues"));
    let by_path = json!({ "signature": signature, "id": { "path": "eventId" }, "kind": { "path": "what.kind" }, "is_list": true });
    let both = take(
        by_path.clone(),
        r#"[{"eventId":7,"what":{"kind":"made"}},{"eventId":8}]"#,
    );
    let named: Vec<_> = both
        .iter()
        .map(|message| (message.id.as_str(), message.kind.as_deref()))
        .collect();
    assert_eq!(named, [("7", Some("made")), ("8", None)]);
    let of_several = json!({ "signature": signature, "kind": { "paths": ["sms", "call"] } });
    for (body, kind) in [
        (r#"{"call":"ringing"}"#, Some("ringing")),
        (r#"{"sms":"sent","call":"ringing"}"#, Some("sent")),
        (r#"{"n":1}"#, None),
    ] {
        assert_eq!(take(of_several.clone(), body)[0].kind.as_deref(), kind, "{body}");
    }
    // What names no id is known by what it says; an endless one by its digest.
    let nameless = take(json!({ "signature": signature }), r#"{"n":1}"#);
    assert_eq!(nameless[0].id, hex(&Sha256::digest(r#"{"n":1}"#)));
    let endless = format!(r#"[{{"eventId":"{}"}}]"#, "x".repeat(1000));
    assert_eq!(take(by_path.clone(), &endless)[0].id.len(), 64);
    assert_eq!(take(by_path, r#"[{"eventId":"a\u0000b"}]"#)[0].id.len(), 64);
}

/// What is not signed cannot make another message of one that somebody caught.
#[test]
fn a_caught_message_stays_the_same_whatever_stands_around_it() {
    let signature = json!({ "scheme": "github", "secret": "{{ credential.webhook_secret }}" });
    let body = r#"{"eventId":7}"#;
    let signed = format!("sha256={}", hex(&sha256(SECRET.as_bytes(), body)));
    let form = ("content-type", "application/x-www-form-urlencoded");
    let caught = post(&[("x-hub-signature-256", &signed), form], body);
    let by_path = receiver_with(
        json!({ "signature": signature, "id": { "path": "eventId" } }),
        SECRET,
    );
    let Taken::Messages(messages) = by_path.take(&caught).unwrap() else {
        panic!()
    };
    assert_eq!((messages[0].id.as_str(), messages[0].body.as_str()), ("7", body));
    let lacks = receiver_with(
        json!({ "signature": signature, "id": { "path": "other" } }),
        SECRET,
    );
    assert_eq!(lacks.take(&caught).unwrap_err().kind(), ErrorKind::Usage);
    let unsigned: ConnectorSpec = serde_json::from_value(json!({
        "spec": 1, "connector": "test", "version": "1.0.0", "name": { "en": "Test" },
        "hook": { "signature": signature, "id": { "header": "X-GitHub-Delivery" } },
    }))
    .unwrap();
    assert!(
        unsigned
            .validate()
            .unwrap_err()
            .to_string()
            .contains("is not signed")
    );
}

#[derive(Default)]
struct Kept {
    all: Vec<Received>,
    landed: Mutex<Vec<i64>>,
}

#[async_trait::async_trait]
impl Inbox for Kept {
    async fn after(&self, place: i64, limit: u32) -> Result<Vec<Received>> {
        let later = self.all.iter().filter(|message| message.place > place);
        Ok(later.take(limit as usize).cloned().collect())
    }

    async fn landed(&self, place: i64) -> Result<()> {
        self.landed.lock().unwrap().push(place);
        Ok(())
    }
}

fn source(inbox: Arc<Kept>) -> Arc<dyn Source> {
    let hook = json!({ "signature": { "scheme": "github", "secret": "{{ credential.webhook_secret }}" } });
    let settings = EngineSettings {
        inbox: Some(inbox),
        ..EngineSettings::default()
    };
    crate::connect(&connector(hook), &connection(SECRET), &settings).unwrap()
}

/// The records' texts, and the state in the end.
async fn read(source: &Arc<dyn Source>, request: ReadRequest) -> (Vec<String>, StreamState) {
    let mut state = request.state.clone().unwrap_or_default();
    let events: Vec<ReadEvent> = source.read(request).try_collect().await.unwrap();
    let mut texts = Vec::new();
    for event in events {
        match event {
            ReadEvent::Batch(batch) => {
                for record in &batch.records {
                    texts.push(String::from_utf8(batch.json(record).to_vec()).unwrap());
                    let record_of: Value = serde_json::from_str(texts.last().unwrap()).unwrap();
                    assert_eq!(
                        batch.cursor(record).unwrap(),
                        record_of["place"].to_string().as_bytes()
                    );
                }
            }
            ReadEvent::Advance(change) => state.apply(change),
            ReadEvent::Progress(_) | ReadEvent::Notice(_) => {}
        }
    }
    (texts, state)
}

fn incremental(state: Option<StreamState>) -> ReadRequest {
    ReadRequest {
        mode: ReadMode::Incremental,
        state,
        ..ReadRequest::full("events")
    }
}

#[tokio::test]
async fn what_was_received_is_read_once_in_order_and_known_to_have_landed() {
    let message = |place: i64| Received {
        place,
        id: format!("evt_{place}"),
        kind: None,
        received_at_ms: 1_531_420_618_000,
        body: "{\"quote\":\"\\\"\"}".to_owned(),
    };
    let places: Vec<i64> = (1..=1_203).filter(|place| place % 7 != 0).collect();
    let inbox = Arc::new(Kept {
        all: places.iter().copied().map(message).collect(),
        ..Kept::default()
    });
    let source = source(inbox.clone());
    assert_eq!(source.discover().await.unwrap()[0].name, "events");
    source.check().await.unwrap();

    let (texts, state) = read(&source, incremental(None)).await;
    assert_eq!(texts.len(), places.len());
    insta::assert_snapshot!(texts[0], @r#"{"place":1,"id":"evt_1","type":null,"received_at":"2018-07-12T18:36:58Z","body":"{\"quote\":\"\\\"\"}"}"#);
    assert!(state.complete && inbox.landed.lock().unwrap().is_empty());
    assert_eq!(state.cursor_of(WHOLE), Some(&json!(1_203)));

    let (texts, after) = read(&source, incremental(Some(state.clone()))).await;
    assert!(texts.is_empty() && after.complete);
    assert_eq!(after.cursor_of(WHOLE), Some(&json!(1_203)));
    assert_eq!(*inbox.landed.lock().unwrap(), [1_203]);

    // A range that somebody asks for says nothing of what landed.
    let range = ReadRequest {
        from: Some("1200".to_owned()),
        to: Some("1201".to_owned()),
        ..incremental(Some(state))
    };
    assert_eq!(read(&source, range).await.0.len(), 2);
    assert_eq!(inbox.landed.lock().unwrap().len(), 1);
    let few = ReadRequest {
        records_max: Some(3),
        ..incremental(None)
    };
    let (texts, state) = read(&source, few).await;
    assert_eq!((texts.len(), state.complete), (3, false));
}

#[tokio::test]
async fn what_was_received_is_not_read_in_full_and_not_where_nobody_keeps_it() {
    let full: Result<Vec<ReadEvent>> = source(Arc::default())
        .read(ReadRequest::full("events"))
        .try_collect()
        .await;
    assert_eq!(full.unwrap_err().kind(), ErrorKind::Usage);
    let hook = json!({ "signature": { "scheme": "github", "secret": "{{ credential.webhook_secret }}" } });
    let nowhere = crate::connect(&connector(hook), &connection(SECRET), &EngineSettings::default()).unwrap();
    let asked: Result<Vec<ReadEvent>> = nowhere.read(incremental(None)).try_collect().await;
    assert!(asked.unwrap_err().to_string().contains("not kept here"));
    let change = StateChange::Slice {
        key: WHOLE.into(),
        state: weir_protocol::SliceState {
            cursor: Some(json!("x")),
            ..Default::default()
        },
    };
    let mut state = StreamState::default();
    state.apply(change);
    let odd: Result<Vec<ReadEvent>> = source(Arc::default())
        .read(incremental(Some(state)))
        .try_collect()
        .await;
    assert_eq!(odd.unwrap_err().kind(), ErrorKind::Usage);
}

#[test]
fn the_messages_of_a_list_are_kept_as_they_were_sent() {
    let hook = json!({ "signature": { "scheme": "github", "secret": "{{ credential.webhook_secret }}" }, "is_list": true });
    let body = "[ {\"n\":1.50, \"big\":12345678901234567890123} ,{\"a\" : 1e2,\"a\":2}]";
    let signed = format!("sha256={}", hex(&sha256(SECRET.as_bytes(), body)));
    let arrived = post(&[("x-hub-signature-256", &signed)], body);
    let Taken::Messages(messages) = receiver_with(hook, SECRET).take(&arrived).unwrap() else {
        panic!()
    };
    let bodies: Vec<&str> = messages.iter().map(|message| message.body.as_str()).collect();
    assert_eq!(
        bodies,
        [
            "{\"n\":1.50, \"big\":12345678901234567890123}",
            "{\"a\" : 1e2,\"a\":2}"
        ]
    );
}

#[test]
fn notions_token_is_taken_while_the_connection_waits_for_it_and_nothing_else_is() {
    let hook = json!({ "signature": { "scheme": "notion", "secret": "{{ credential.webhook_secret }}" } });
    let waiting = receiver_with(hook.clone(), "unverified");
    let first = post(
        &[],
        r#"{"verification_token":"secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl"}"#,
    );
    assert_eq!(
        waiting.take(&first).unwrap(),
        Taken::Answer("received".to_owned())
    );
    let body = r#"{"id":"evt_1"}"#;
    let signed = format!("sha256={}", hex(&sha256(b"unverified", body)));
    let guessed = post(&[("x-notion-signature", &signed)], body);
    assert_eq!(waiting.take(&guessed).unwrap_err().kind(), ErrorKind::Auth);
    // Once there is one, nobody brings another.
    let verified = receiver_with(hook, "secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl");
    assert_eq!(verified.take(&first).unwrap_err().kind(), ErrorKind::Auth);
}
