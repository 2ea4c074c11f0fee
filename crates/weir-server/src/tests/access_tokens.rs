//! Access tokens of an identity provider, as MCP clients and programs show them.

use std::collections::BTreeMap;

use serde_json::json;
use weir_control::sessions::{LoginDesk, LoginRules};
use weir_protocol::oidc::{Identity, IdentityProvider, LoginProof, Shown};

use super::calls::{Shop, Till, shop_with};
use super::mcp::send;
use super::*;

const BASE: &str = "http://127.0.0.1:7373";
const PLACE: &str = "resource_metadata=\"http://127.0.0.1:7373/.well-known/oauth-protected-resource/mcp\"";

/// Knows tokens of the form `scopes.group.signature`, as person `ali`.
#[derive(Debug)]
struct Provider;

#[async_trait]
impl IdentityProvider for Provider {
    fn issuer(&self) -> &str {
        "https://id.example.com"
    }

    async fn read_access_token(&self, token: &Secret, audience: &str) -> Result<Shown> {
        assert_eq!(audience, "http://127.0.0.1:7373/mcp");
        let parts: Vec<&str> = token.expose().split('.').collect();
        if parts[2] != "good" {
            return Err(Error::auth("the access token is refused").hint("get a new one"));
        }
        let claims = json!({ "groups": [parts[1]] });
        Ok(Shown {
            identity: Identity {
                issuer: self.issuer().to_owned(),
                subject: "ali".to_owned(),
                claims: claims.as_object().unwrap().clone(),
            },
            is_program: false,
            scopes: parts[0].split('+').map(ToOwned::to_owned).collect(),
            ends_at_s: 0,
        })
    }

    async fn authorize_url(&self, _redirect_uri: &str, _proof: &LoginProof) -> Result<String> {
        Err(Error::usage("nobody logs in").hint("none"))
    }

    async fn identify(
        &self,
        _code: &Secret,
        _iss: Option<&str>,
        _redirect_uri: &str,
        _proof: &LoginProof,
    ) -> Result<Identity> {
        Err(Error::usage("nobody logs in").hint("none"))
    }

    async fn logout_url(&self, _back_to: &str) -> Result<Option<String>> {
        Ok(None)
    }
}

async fn shop() -> Shop {
    shop_with(Till::new(), |store, tenant, settings| {
        let rules = LoginRules {
            role_claim: "groups".to_owned(),
            roles: BTreeMap::from([
                ("agents".to_owned(), Role::Agent),
                ("lookers".to_owned(), Role::Analyst),
            ]),
            principal_claim: Some("sub".to_owned()),
            group_claim: "groups".to_owned(),
        };
        let desk = LoginDesk::new(store, tenant, Arc::new(Provider), rules, BASE);
        let desk = desk.taking_access_tokens(format!("{BASE}/mcp"));
        Settings {
            login: Some(Login::new(desk, BASE)),
            ..settings
        }
    })
    .await
}

async fn calls(shop: &Shop, token: &str, tool: &str) -> Answer {
    let params = json!({ "name": tool, "arguments": {} });
    send(&shop.served, token, &json!({}), "tools/call", params).await
}

fn challenge(answer: &Answer) -> &str {
    answer.header("www-authenticate").unwrap()
}

#[tokio::test]
async fn the_door_says_where_tokens_are_and_which_scopes_to_ask_for() {
    let shop = shop().await;
    let path = "/.well-known/oauth-protected-resource/mcp";
    let metadata = shop.served.send("GET", path, &[], "").await.json();
    assert_eq!(
        metadata["authorization_servers"],
        json!(["https://id.example.com"])
    );
    assert_eq!(metadata["resource"], "http://127.0.0.1:7373/mcp");
    assert_eq!(metadata["bearer_methods_supported"], json!(["header"]));
    let scopes = "connections:read data:read runs:read runs:write actions:read actions:write";
    assert_eq!(
        metadata["scopes_supported"],
        json!(scopes.split(' ').collect::<Vec<_>>())
    );
    let none = shop.served.send("POST", "/mcp", &[], "{}").await;
    none.problem(401);
    let said = challenge(&none);
    assert!(
        said.contains(PLACE) && said.contains(&format!("scope=\"{scopes}\"")),
        "{said}"
    );
    assert!(!said.contains("error="), "{said}");
    let wrong = calls(&shop, "runs:read.agents.bad", "run_status").await;
    wrong.problem(401);
    let said = challenge(&wrong);
    assert!(
        said.contains("error=\"invalid_token\"") && said.contains(PLACE),
        "{said}"
    );
}

#[tokio::test]
async fn what_a_token_lacks_and_its_holder_could_give_is_asked_for() {
    let shop = shop().await;
    let looks = "runs:read+profile.agents.good";
    for (tool, scope) in [("shop.tip", "actions:write"), ("run_sync", "runs:write")] {
        let refused = calls(&shop, looks, tool).await;
        refused.problem(403);
        let said = challenge(&refused);
        let expected = format!("error=\"insufficient_scope\", scope=\"{scope}\", {PLACE}");
        assert!(said.ends_with(&expected), "{said}");
    }
    // The older revision says no method in its headers.
    let bearer = format!("Bearer {looks}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    let body = |tool: &str| {
        let params = json!({ "name": tool, "arguments": { "run": "none" } });
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string()
    };
    let refused = shop
        .served
        .send("POST", "/mcp", &headers, &body("shop.tip"))
        .await;
    refused.problem(403);
    let allowed = shop
        .served
        .send("POST", "/mcp", &headers, &body("run_status"))
        .await;
    assert_eq!(allowed.json()["result"]["isError"], true, "{}", allowed.text);
    let bare = calls(&shop, "profile.agents.good", "run_status").await;
    bare.problem(403);
    assert!(challenge(&bare).contains("scope=\"connections:read data:read runs:read"));
    // What no scope would give is as if it did not exist.
    let looker = calls(&shop, "runs:read.lookers.good", "shop.tip").await;
    assert_eq!(looker.json()["error"]["code"], -32602, "{}", looker.text);
    let nobody = calls(&shop, "runs:read.guests.good", "run_status").await;
    nobody.problem(403);
    assert_eq!(nobody.header("www-authenticate"), None);
}

#[tokio::test]
async fn a_token_calls_as_its_person_here_and_in_the_api() {
    let shop = shop().await;
    let token = "actions:write+actions:read+tokens:read.agents.good";
    let done = calls(&shop, token, "shop.tip").await.json();
    let value = &done["result"]["structuredContent"];
    assert_eq!(value["status"], "done", "{done}");
    let path = format!("/api/v1/calls/{}", value["call"].as_str().unwrap());
    let call = shop.served.ask_as(token, "GET", &path, "").await.json();
    assert_eq!(call["principal"], "ali", "{call}");
    let refused = shop.served.ask_as(token, "GET", "/api/v1/runs", "").await;
    refused.problem(403);
    assert!(challenge(&refused).contains("error=\"insufficient_scope\", scope=\"runs:read\""));
    // A scope gives nothing that no role gives.
    shop.served
        .ask_as(token, "GET", "/api/v1/tokens", "")
        .await
        .problem(403);
    // weir's own tokens go on as they are.
    assert_eq!(calls(&shop, &shop.agent, "shop.tip").await.status, 200);
}
