//! Setting over the API where a stream is read on.

use serde_json::json;
use weir_control::states::{Asked, Desk, Streams, Wish};

use super::*;

const PATH: &str = "/api/v1/connections/shop/states/orders";

/// The files of one connection, whose stream `log` has no key.
struct OneShop(Connection);

#[async_trait]
impl Streams for OneShop {
    async fn wish(
        &self,
        connection: &str,
        stream: &str,
        asked: &Asked,
        accept_duplicates: bool,
    ) -> Result<(Connection, Wish)> {
        if connection != "shop" || !["orders", "log"].contains(&stream) {
            return Err(Error::not_found("no such stream").hint("use orders"));
        }
        if stream == "log" && !accept_duplicates {
            return Err(Error::usage("it would stand there twice").hint("accept it"));
        }
        let wish = match asked {
            Asked::Beginning => Wish::Reset,
            Asked::Cursor(cursor) => Wish::From(StreamState {
                floor: Some(cursor.as_str().into()),
                ..StreamState::default()
            }),
            Asked::State(state) => Wish::From(state.clone()),
        };
        Ok((self.0.clone(), wish))
    }
}

async fn with_files() -> Served {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let tenant = new_tenant(&store).await;
    served_at(folder, store, tenant, |_, tenant| {
        let shop = Connection {
            tenant: tenant.to_owned(),
            ..Connection::new("shop", "http_json", "shop")
        };
        Settings {
            states: Some(Desk::new(tenant, Arc::new(OneShop(shop)))),
            ..able()
        }
    })
    .await
}

#[tokio::test]
async fn a_stream_is_read_on_from_where_it_is_set_unless_that_changed_meanwhile() {
    let served = with_files().await;
    let cursor = r#"{"from": {"cursor": "2026-01-01"}}"#;
    // Nobody read any state yet that could have changed.
    served
        .ask_with("PUT", PATH, ("if-match", "*"), cursor)
        .await
        .problem(412);
    let set = served.ask("PUT", PATH, cursor).await;
    assert_eq!(set.status, 200, "{}", set.text);
    assert_eq!(set.json()["wish"]["from"]["floor"], "2026-01-01");
    let tag = served
        .ask("GET", PATH, "")
        .await
        .header("etag")
        .unwrap()
        .to_owned();
    let state = json!({ "from": { "state": set.json()["wish"]["from"] } }).to_string();
    assert_eq!(
        served
            .ask_with("PUT", PATH, ("if-match", &tag), &state)
            .await
            .status,
        200
    );
    let reset = served.ask("DELETE", PATH, "").await;
    assert_eq!((reset.status, &reset.json()["wish"]), (200, &"reset".into()));
    for method in ["PUT", "DELETE"] {
        let answer = served.ask_with(method, PATH, ("if-match", &tag), cursor).await;
        answer.problem(412);
    }
    assert_eq!(served.get(PATH).await.1["wish"], "reset");

    let log = "/api/v1/connections/shop/states/log";
    served.ask("DELETE", log, "").await.problem(400);
    let accepted = served
        .ask("DELETE", &format!("{log}?accept_duplicates=true"), "")
        .await;
    assert_eq!(accepted.status, 200, "{}", accepted.text);
    let body = r#"{"from": "beginning", "accept_duplicates": true}"#;
    assert_eq!(served.ask("PUT", log, body).await.status, 200);
    for (body, status) in [(r#"{"from": "end"}"#, 422), ("{}", 422), ("", 400)] {
        served.ask("PUT", PATH, body).await.problem(status);
    }
    served
        .ask("PUT", "/api/v1/connections/shop/states/none", cursor)
        .await
        .problem(404);
}

#[tokio::test]
async fn who_may_only_read_states_sets_none_and_other_tenants_have_no_files() {
    let served = with_files().await;
    let body = r#"{"from": "beginning"}"#;
    let analyst = token(&served.store, &served.tenant, Role::Analyst).await;
    served.ask_as(&analyst, "PUT", PATH, body).await.problem(403);
    let other = new_tenant(&served.store).await;
    let stranger = token(&served.store, &other, Role::Admin).await;
    served.ask_as(&stranger, "PUT", PATH, body).await.problem(404);
    served.ask("GET", PATH, "").await.problem(404);
}
