//! The actions of `stripe` against answers in the shapes of Stripe's reference.

use std::path::Path;

use serde_json::{Value, json};
use weir_engine::EngineSettings;
use weir_engine::action::HttpActions;
use weir_engine::catalog::Catalog;
use weir_protocol::action::{Actions as _, Call, Performed, Reply};
use wiremock::matchers::{body_string, header, method, path, query_param, query_param_is_missing};
use wiremock::{Mock, MockServer, ResponseTemplate};

fn answer(status: u16, body: Value) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(body)
}

fn actions(server: &MockServer) -> HttpActions {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../connectors");
    let catalog = Catalog::open(&[folder]).unwrap();
    let connection = serde_json::from_value(json!({
        "connection": "shop", "connector": "stripe", "config": { "base_url": server.uri() },
        "credential": { "secret_key": "sk_test_1" }, "allow_private_hosts": true,
    }))
    .unwrap();
    HttpActions::connect(
        catalog.get("stripe").unwrap(),
        &connection,
        &EngineSettings::default(),
    )
    .unwrap()
}

async fn perform(actions: &HttpActions, action: &str, input: Value) -> Performed {
    let call = Call {
        action: action.to_owned(),
        input: actions.check(action, input.as_object().unwrap()).unwrap(),
        idempotency_key: "weir-1".to_owned(),
        correlation_id: "run-1".to_owned(),
        began_at_ms: Some(1_700_000_000_000),
    };
    actions.perform(&call).await
}

fn done(performed: Performed) -> Reply {
    match performed {
        Performed::Done(reply) => reply,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_refund_is_a_form_with_a_key_and_leaves_out_what_is_not_said() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/v1/refunds"))
        .and(header("authorization", "Bearer sk_test_1"))
        .and(header("idempotency-key", "weir-1"))
        .and(header("stripe-version", "2024-06-20"))
        .and(body_string("amount=500&payment_intent=pi_3abc"))
        .respond_with(answer(
            200,
            json!({ "id": "re_1", "object": "refund", "status": "succeeded", "amount": 500 }),
        ))
        .mount(&server)
        .await;
    let input = json!({ "payment_intent": "pi_3abc", "amount": 500 });
    let reply = done(perform(&actions(&server), "create_refund", input).await);
    assert_eq!(reply.remote_id.as_deref(), Some("re_1"));
    for wrong in [
        json!({ "payment_intent": "../v1/charges" }),
        json!({ "payment_intent": "pi_1", "amount": 0 }),
        json!({ "payment_intent": "pi_1", "reason": "because" }),
    ] {
        let refused = actions(&server).check("create_refund", wrong.as_object().unwrap());
        refused.unwrap_err();
    }
}

#[tokio::test]
async fn a_declined_payment_failed_and_moved_no_money() {
    let server = MockServer::start().await;
    let error = json!({ "error": { "type": "card_error", "code": "card_declined", "message": "Your card was declined." } });
    Mock::given(path("/v1/payment_intents"))
        .and(body_string("amount=2000&confirm=true&currency=usd"))
        .respond_with(answer(402, error))
        .mount(&server)
        .await;
    let input = json!({ "amount": 2000, "currency": "usd", "confirm": true });
    match perform(&actions(&server), "create_payment_intent", input).await {
        Performed::Failed(error) => assert!(error.to_string().contains("declined"), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn customers_are_listed_after_the_last_one_until_there_are_no_more() {
    let server = MockServer::start().await;
    let page = |id: &str, has_more: bool| {
        let customer = json!({ "id": id, "email": "a@example.com", "name": "Ann" });
        answer(
            200,
            json!({ "object": "list", "data": [customer], "has_more": has_more }),
        )
    };
    Mock::given(path("/v1/customers"))
        .and(query_param_is_missing("starting_after"))
        .and(query_param("limit", "100"))
        .respond_with(page("cus_1", true))
        .mount(&server)
        .await;
    Mock::given(path("/v1/customers"))
        .and(query_param("starting_after", "cus_1"))
        .respond_with(page("cus_2", false))
        .mount(&server)
        .await;
    let listed = done(perform(&actions(&server), "list_customers", json!({})).await);
    let records = listed.output["records"].as_array().unwrap();
    let ids: Vec<_> = records.iter().map(|customer| &customer["id"]).collect();
    assert_eq!(ids, ["cus_1", "cus_2"]);
}
