use serde_json::json;
use weir_control::Acting;
use weir_control::rpc::{Lent, Office, Papers, Sender, Supplies};
use weir_control::runs::queue::Claimed;
use weir_protocol::Secret;
use weir_protocol::oauth::AccessToken;

use super::*;

/// A server that has no files.
struct Empty;

#[async_trait]
impl Supplies for Empty {
    async fn papers(&self, _claimed: &Claimed) -> Result<Papers> {
        Err(Error::not_found("no files").hint("add some"))
    }

    async fn lend(&self, _claimed: &Claimed, _acting: Acting) -> Result<Lent> {
        Err(Error::not_found("no files").hint("add some"))
    }

    async fn token(&self, _of: &Claimed, _acting: Acting, _refused: Option<&Secret>) -> Result<AccessToken> {
        Err(Error::not_found("no files").hint("add some"))
    }
}

fn hello() -> String {
    let mut call = serde_json::to_value(Sender::new("north").unwrap()).unwrap();
    call["call"] = json!({});
    call.to_string()
}

#[tokio::test]
async fn workers_are_let_in_by_their_role_and_seen_by_who_may_look() {
    let served = served_where(|store| Settings {
        office: Some(Office::new(store.clone(), Arc::new(Empty))),
        ..Settings::default()
    })
    .await;
    let worker = token(&served.store, &served.tenant, Role::Worker).await;
    let welcome = served.ask_as(&worker, "POST", "/worker/v1/hello", &hello()).await;
    assert_eq!(welcome.status, 200, "{}", welcome.text);
    assert_eq!(welcome.header("cache-control"), Some("no-store"));
    let listed = served.ask("GET", "/api/v1/workers", "").await;
    let listed: Value = serde_json::from_str(&listed.text).unwrap();
    assert_eq!(listed["items"][0]["name"], "north");

    let analyst = token(&served.store, &served.tenant, Role::Analyst).await;
    let refused = served
        .ask_as(&analyst, "POST", "/worker/v1/hello", &hello())
        .await;
    assert_eq!(refused.problem(403)["context"]["missing"], "workers:write");
    assert_eq!(
        served
            .ask_as("weir_no", "POST", "/worker/v1/hello", &hello())
            .await
            .status,
        401
    );
    let unknown = served.ask_as(&worker, "POST", "/worker/v1/dance", &hello()).await;
    unknown.problem(404);
    let broken = served.ask_as(&worker, "POST", "/worker/v1/hello", "{").await;
    broken.problem(400);
}

#[tokio::test]
async fn a_server_without_work_says_so() {
    let served = served().await;
    let answer = served.ask("POST", "/worker/v1/hello", &hello()).await;
    answer.problem(404);
}
