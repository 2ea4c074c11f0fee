//! What the API tells of messages that came in.

use std::collections::BTreeMap;

use weir_control::connections;
use weir_control::hooks::{Receivers, StoredInbox};
use weir_protocol::hook::{Arrived, Inbox as _, Message, Receiver, Taken};

use super::*;

/// Takes every body as a message with its text as the id.
struct Trusting;

impl Receiver for Trusting {
    fn take(&self, arrived: &Arrived) -> Result<Taken> {
        Ok(Taken::Messages(vec![Message {
            id: String::from_utf8(arrived.body.to_vec()).unwrap(),
            kind: Some("paid".to_owned()),
            body: r#"{"planted": "body"}"#.to_owned(),
            tells_body: false,
        }]))
    }
}

#[async_trait]
impl Receivers for Trusting {
    async fn receiver(&self, _tenant: &str, _connection: &str) -> Result<Arc<dyn Receiver>> {
        Ok(Arc::new(Self))
    }
}

fn receiving(store: &Store) -> Settings {
    let info = |key: &str, hook: Option<&str>| ConnectorInfo {
        key: key.to_owned(),
        version: "1.0.0".to_owned(),
        name: BTreeMap::new(),
        governance: spec::Governance::default(),
        hook: hook.map(ToOwned::to_owned),
    };
    Settings {
        catalog: vec![info("stripe", Some("stripe")), info("http_json", None)],
        hooks: Some(messages::Desk::new(store, Arc::new(Trusting))),
        ..able()
    }
}

#[tokio::test]
async fn who_may_be_sent_messages_is_told_and_what_came_but_no_body() {
    let served = served_where(receiving).await;
    let tenant = &served.tenant;
    let pay = Connection {
        tenant: tenant.clone(),
        ..Connection::new("pay", "stripe", "pay")
    };
    for connection in [&pay, &served.shop()] {
        connections::register(&served.store, connection).await.unwrap();
    }
    let (_, before) = served.get("/api/v1/hooks").await;
    let path = format!("/hooks/{tenant}/pay");
    let expected = serde_json::json!([{
        "connection": "pay", "connector": "stripe", "path": path, "scheme": "stripe", "last_received_at_ms": null,
    }]);
    assert_eq!(before["items"], expected);
    for id in ["a", "b", "c"] {
        assert_eq!(served.send("POST", &path, &[], id).await.status, 200);
    }
    let (_, after) = served.get("/api/v1/hooks").await;
    assert!(after["items"][0]["last_received_at_ms"].is_i64());

    let list = "/api/v1/hooks/pay/messages";
    let first = served.ask("GET", &format!("{list}?limit=2"), "").await;
    assert!(!first.text.contains("planted"), "{}", first.text);
    let first = first.json();
    let ids = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap().iter();
        items
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(&first), ["c", "b"]);
    let place = first["items"][1]["place"].as_i64().unwrap();
    let inbox = StoredInbox::new(&served.store, tenant, "pay");
    inbox.landed(place).await.unwrap();
    let landed: Vec<Value> = served.get(list).await.1["items"].as_array().unwrap().clone();
    let landed: Vec<bool> = landed.iter().map(|item| item["has_landed"] == true).collect();
    assert_eq!(landed, [false, true, true]);
    let next = first["next"].as_str().unwrap();
    assert_eq!(ids(&served.get(&format!("{list}?after={next}")).await.1), ["a"]);
    served
        .ask("GET", &format!("{list}?after=x"), "")
        .await
        .problem(400);
    served
        .ask("GET", "/api/v1/hooks/none/messages", "")
        .await
        .problem(404);
    assert_eq!(
        served.get("/api/v1/hooks/shop/messages").await.1["items"],
        serde_json::json!([])
    );
}
