//! MCP as clients of the newest revision speak it, message by message.

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde_json::json;
use weir_control::oauth;
use weir_control::policies::{InForce, Policies, PolicyFile, Surroundings};
use weir_protocol::oauth::{AuthorizationServer, DeviceCode, Exchange, Exchanged, OauthClient};
use weir_protocol::query::Rows;

use super::calls::{Shop, Till, shop, shop_under, shop_with};
use super::*;

const REVISION: &str = "2026-07-28";

/// A message of a client that can do `capabilities`, as somebody.
pub(super) async fn send(
    served: &Served,
    token: &str,
    capabilities: &Value,
    method: &str,
    params: Value,
) -> Answer {
    let mut params = params;
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": REVISION,
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    let bearer = format!("Bearer {token}");
    let name = ["name", "taskId"]
        .iter()
        .find_map(|field| params[*field].as_str())
        .unwrap_or_default()
        .to_owned();
    let mut headers = vec![
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", REVISION),
        ("mcp-method", method),
    ];
    if !name.is_empty() {
        headers.push(("mcp-name", &name));
    }
    served.send("POST", "/mcp", &headers, &body).await
}

async fn asked(served: &Served, token: &str, capabilities: &Value, method: &str, params: Value) -> Value {
    let answer = send(served, token, capabilities, method, params).await;
    answer.json()
}

fn tasks() -> Value {
    json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } })
}

fn browses() -> Value {
    json!({ "elicitation": { "url": {} } })
}

/// As the shop's agent; the result.
async fn tool(shop: &Shop, capabilities: &Value, name: &str, arguments: Value) -> Value {
    let params = json!({ "name": name, "arguments": arguments });
    let answer = asked(&shop.served, &shop.agent, capabilities, "tools/call", params).await;
    answer["result"].clone()
}

async fn names(served: &Served, token: &str) -> Vec<String> {
    let listed = asked(served, token, &json!({}), "tools/list", json!({})).await;
    assert_eq!(listed["result"]["cacheScope"], "private", "{listed}");
    let tools = listed["result"]["tools"].as_array().unwrap();
    let name = |tool: &Value| tool["name"].as_str().unwrap().to_owned();
    tools.iter().map(name).collect()
}

#[tokio::test]
async fn the_door_says_how_to_get_in_and_lets_no_foreign_page_in() {
    let shop = shop().await;
    let served = &shop.served;
    for (token, error) in [("", None), ("Bearer weir_x_y", Some("error=\"invalid_token\""))] {
        let headers: Vec<_> = (!token.is_empty())
            .then_some(("authorization", token))
            .into_iter()
            .collect();
        let answer = served.send("POST", "/mcp", &headers, "{}").await;
        answer.problem(401);
        let challenge = answer.header("www-authenticate").unwrap();
        let place = "resource_metadata=\"http://127.0.0.1:7373/.well-known/oauth-protected-resource/mcp\"";
        assert!(
            challenge.starts_with("Bearer ") && challenge.contains(place),
            "{challenge}"
        );
        assert!(error.is_none_or(|error| challenge.contains(error)), "{challenge}");
    }
    for path in [
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/mcp",
    ] {
        let metadata = served.send("GET", path, &[], "").await.json();
        assert_eq!(metadata["resource"], "http://127.0.0.1:7373/mcp");
        assert_eq!(metadata["bearer_methods_supported"], json!(["header"]));
    }
    let bearer = format!("Bearer {}", shop.agent);
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    for (origin, status) in [
        ("https://evil.example", 403),
        ("null", 403),
        ("http://localhost.evil.example", 403),
        ("http://localhost:6274", 200),
    ] {
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("origin", origin),
        ];
        let answer = served.send("POST", "/mcp", &headers, body).await;
        assert_eq!(answer.status, status, "{origin}: {}", answer.text);
    }
    let refused = served
        .send("GET", "/mcp", &[("authorization", &bearer)], "")
        .await;
    assert_eq!(refused.status, 405);
}

#[tokio::test]
async fn a_message_that_names_a_key_twice_calls_nothing() {
    let shop = shop().await;
    let bearer = format!("Bearer {}", shop.agent);
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    let body = r#"{"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "shop.tip", "arguments": {"amount": 1, "amount": 900}}}"#;
    let answer = shop.served.send("POST", "/mcp", &headers, body).await;
    let error = &answer.json()["error"];
    assert_eq!(
        (answer.status, &error["code"]),
        (400, &json!(-32600)),
        "{}",
        answer.text
    );
    let told = error["message"].as_str().unwrap();
    assert!(told.contains("'amount' is there twice"), "{told}");
    assert!(shop.till.done.lock().unwrap().is_empty());
}

#[tokio::test]
async fn it_says_who_it_is_and_what_it_has_not() {
    let shop = shop().await;
    let discovered = asked(
        &shop.served,
        &shop.agent,
        &json!({}),
        "server/discover",
        json!({}),
    )
    .await;
    let result = &discovered["result"];
    let info = &result["_meta"]["io.modelcontextprotocol/serverInfo"];
    assert_eq!(info["name"], "weir", "{discovered}");
    let capabilities = result["capabilities"].as_object().unwrap();
    assert_eq!(
        capabilities.keys().collect::<BTreeSet<_>>(),
        BTreeSet::from([&"extensions".to_owned(), &"tools".to_owned()])
    );
    for method in [
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "logging/setLevel",
        "nonsense/x",
    ] {
        let answer = send(&shop.served, &shop.agent, &json!({}), method, json!({})).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (404, &json!(-32601)),
            "{method}"
        );
    }
}

#[tokio::test]
async fn tools_are_what_the_caller_may_use_in_one_order() {
    let shop = shop().await;
    let served = &shop.served;
    let own = ["run_sync", "run_status", "call_status"];
    let all = [&own[..], &["shop.pay", "shop.tip"]].concat();
    assert_eq!(names(served, &shop.agent).await, all);
    assert_eq!(names(served, &shop.agent).await, all);
    let analyst = token(&served.store, &served.tenant, Role::Analyst).await;
    assert_eq!(names(served, &analyst).await, ["run_status", "call_status"]);
    let worker = token(&served.store, &served.tenant, Role::Worker).await;
    assert!(names(served, &worker).await.is_empty());
    let stranger = token(&served.store, &new_tenant(&served.store).await, Role::Agent).await;
    assert_eq!(names(served, &stranger).await, own);
    let params = json!({ "name": "shop.tip", "arguments": {} });
    let refused = asked(served, &stranger, &json!({}), "tools/call", params).await;
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
}

#[tokio::test]
async fn a_tool_says_what_it_takes_and_gives_and_does() {
    let shop = shop().await;
    let listed = asked(&shop.served, &shop.agent, &json!({}), "tools/list", json!({})).await;
    let tools = listed["result"]["tools"].as_array().unwrap();
    let tip = tools.iter().find(|tool| tool["name"] == "shop.tip").unwrap();
    insta::assert_json_snapshot!(tip, @r#"
    {
      "name": "shop.tip",
      "title": "Pay (shop)",
      "description": "Pay. It moves money. Connection 'shop' (till).",
      "inputSchema": {
        "type": "object",
        "properties": {
          "idempotency_key": {
            "type": "string",
            "minLength": 1,
            "maxLength": 255,
            "description": "Makes the call happen once: the same key with the same arguments gives the same call. Use a new one, such as a UUID, for every new intent, and the same one when you repeat a call whose answer was lost."
          }
        }
      },
      "outputSchema": {
        "type": "object",
        "required": [
          "call",
          "status"
        ],
        "properties": {
          "call": {
            "type": "string",
            "description": "Id of the call."
          },
          "status": {
            "type": "string",
            "enum": [
              "waiting",
              "ready",
              "running",
              "done",
              "failed",
              "uncertain",
              "refused"
            ]
          },
          "output": {},
          "remote_id": {
            "type": "string",
            "description": "The vendor's id of what was made or changed."
          },
          "replayed": {
            "type": "boolean",
            "description": "It was asked for before, under the same key."
          },
          "next_step": {
            "type": "string"
          }
        }
      },
      "annotations": {
        "title": "Pay",
        "readOnlyHint": false,
        "destructiveHint": true,
        "idempotentHint": false,
        "openWorldHint": true
      }
    }
    "#);
}

#[tokio::test]
async fn policies_take_tools_away_from_the_list_and_from_calls() {
    let text = r#"@id("no-tips") forbid(principal, action, resource == Call::"shop/tip") when { context.via == "mcp" };"#;
    let file = PolicyFile {
        path: "policies/a.cedar".to_owned(),
        text: text.to_owned(),
    };
    let policies = Arc::new(InForce::new(
        Policies::read(vec![file]).unwrap(),
        Surroundings::default(),
    ));
    let shop = shop_under(policies).await;
    assert!(
        !names(&shop.served, &shop.agent)
            .await
            .contains(&"shop.tip".to_owned())
    );
    let params = json!({ "name": "shop.tip", "arguments": {} });
    let refused = asked(&shop.served, &shop.agent, &json!({}), "tools/call", params).await;
    assert_eq!(refused["error"]["code"], -32602);
    assert!(shop.till.done.lock().unwrap().is_empty());
    // Who called it is told no more than that there is none for them; the trail has that they did.
    let noted = shop.served.noted("call.refuse").await;
    assert_eq!(noted.len(), 1);
    assert_eq!(noted[0].subject, "connection:shop");
    assert!(
        noted[0].details.contains("\"action\":\"tip\""),
        "{}",
        noted[0].details
    );
}

#[tokio::test]
async fn a_call_gives_its_outcome_and_the_same_key_the_same() {
    let shop = shop().await;
    let arguments = json!({ "amount": 5, "idempotency_key": "k1" });
    let first = tool(&shop, &json!({}), "shop.tip", arguments.clone()).await;
    let told = &first["structuredContent"];
    assert_eq!(
        (&told["status"], &told["output"]),
        (&json!("done"), &json!({ "paid": true })),
        "{first}"
    );
    let text: Value = serde_json::from_str(first["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(&text, told);
    let again = tool(&shop, &json!({}), "shop.tip", arguments).await;
    assert_eq!(again["structuredContent"]["replayed"], true);
    assert_eq!(again["structuredContent"]["call"], told["call"]);
    assert_eq!(shop.till.done.lock().unwrap().len(), 1);
    let call = weir_control::calls::get(
        &shop.served.store,
        &Access::command_line(&shop.served.tenant),
        told["call"].as_str().unwrap(),
    )
    .await
    .unwrap();
    assert_eq!(
        (
            call.principal.as_str(),
            call.input.contains_key("idempotency_key")
        ),
        ("agent", false)
    );
    for (arguments, kind) in [
        (json!({ "amount": 6, "idempotency_key": "k1" }), "spec"),
        (json!({ "amount": "x" }), "usage"),
        (json!({ "then": "refuse" }), "source"),
        (json!({ "then": "lose" }), "timeout"),
        (json!({ "idempotency_key": "a b" }), "usage"),
    ] {
        let failed = tool(&shop, &json!({}), "shop.tip", arguments).await;
        assert_eq!(
            (&failed["isError"], &failed["structuredContent"]["kind"]),
            (&json!(true), &json!(kind)),
            "{failed}"
        );
        assert!(
            failed["structuredContent"]["hint"].is_string()
                && failed["structuredContent"]["message"].is_string()
        );
    }
}

#[tokio::test]
async fn a_call_that_waits_is_a_task_where_the_client_takes_tasks_and_else_says_so() {
    let shop = shop().await;
    let arguments = json!({ "amount": 5 });
    let plain = tool(&shop, &json!({}), "shop.pay", arguments.clone()).await;
    assert_eq!(
        (&plain["resultType"], &plain["structuredContent"]["status"]),
        (&json!("complete"), &json!("waiting"))
    );
    let status = tool(
        &shop,
        &json!({}),
        "call_status",
        json!({ "call": plain["structuredContent"]["call"] }),
    )
    .await;
    assert_eq!(status["structuredContent"]["status"], "waiting", "{status}");
    let begun = tool(&shop, &tasks(), "shop.pay", arguments.clone()).await;
    assert_eq!(
        (&begun["resultType"], &begun["status"]),
        (&json!("task"), &json!("working")),
        "{begun}"
    );
    let id = begun["taskId"].as_str().unwrap().to_owned();
    let get = async |token: &str, method: &str| {
        let params = json!({ "taskId": id, "inputResponses": {} });
        asked(&shop.served, token, &tasks(), method, params).await
    };
    assert_eq!(get(&shop.agent, "tasks/get").await["result"]["status"], "working");
    // Who approves sees the call, and has no right to its task.
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        assert_eq!(
            get(&shop.served.token, method).await["error"]["code"],
            -32602,
            "{method}"
        );
    }
    let path = format!("/api/v1/approvals/{id}/approve");
    assert_eq!(shop.served.ask("POST", &path, "{}").await.status, 200);
    shop.desk.work().await.unwrap();
    let done = get(&shop.agent, "tasks/get").await;
    assert_eq!(done["result"]["status"], "completed", "{done}");
    assert_eq!(
        done["result"]["result"]["structuredContent"]["output"],
        json!({ "paid": true })
    );
    assert_eq!(
        get(&shop.agent, "tasks/cancel").await["result"]["resultType"],
        "complete"
    );
    assert_eq!(
        get(&shop.agent, "tasks/get").await["result"]["status"],
        "completed"
    );
    let taken = tool(&shop, &tasks(), "shop.pay", arguments).await;
    let params = json!({ "taskId": taken["taskId"] });
    asked(
        &shop.served,
        &shop.agent,
        &tasks(),
        "tasks/cancel",
        params.clone(),
    )
    .await;
    let after = asked(&shop.served, &shop.agent, &tasks(), "tasks/get", params.clone()).await;
    assert_eq!(after["result"]["status"], "cancelled", "{after}");
    assert_eq!(shop.till.done.lock().unwrap().len(), 1);
    let refused = asked(&shop.served, &shop.agent, &json!({}), "tasks/get", params).await;
    assert_eq!(refused["error"]["code"], -32021, "{refused}");
}

#[tokio::test]
async fn a_task_is_hidden_by_policies_and_has_no_end_while_nobody_knows_it() {
    let policies = Arc::new(InForce::default());
    let shop = shop_under(policies.clone()).await;
    let begun = tool(&shop, &tasks(), "shop.pay", json!({ "then": "lose" })).await;
    let id = begun["taskId"].as_str().unwrap().to_owned();
    let get = async |method: &str| {
        let params = json!({ "taskId": id, "inputResponses": {} });
        asked(&shop.served, &shop.agent, &tasks(), method, params).await
    };
    let path = format!("/api/v1/approvals/{id}/approve");
    assert_eq!(shop.served.ask("POST", &path, "{}").await.status, 200);
    shop.desk.work().await.unwrap();
    let task = get("tasks/get").await["result"].clone();
    assert_eq!(task["status"], "working", "{task}");
    assert!(
        task["statusMessage"].as_str().unwrap().contains("may have had"),
        "{task}"
    );
    let path = format!("/api/v1/calls/{id}/settle");
    let settled = json!({ "happened": true, "reason": "it is in the till" }).to_string();
    let answer = shop.served.ask("POST", &path, &settled).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(get("tasks/get").await["result"]["status"], "completed");
    let file = PolicyFile {
        path: "policies/a.cedar".to_owned(),
        text: r#"@id("blind") forbid(principal, action == Action::"actions:read", resource) when { context.via == "mcp" };"#
            .to_owned(),
    };
    policies.take(&shop.served.store, Ok(vec![file])).await.unwrap();
    assert_eq!(get("tasks/get").await["error"]["code"], -32602);
}

#[tokio::test]
async fn many_actions_are_searched_and_called_by_name() {
    let shop = shop_with(Till::with(60), |_, _, settings| settings).await;
    let listed = names(&shop.served, &shop.agent).await;
    assert_eq!(
        listed,
        [
            "run_sync",
            "run_status",
            "call_status",
            "search_tools",
            "call_action"
        ]
    );
    let found = tool(
        &shop,
        &json!({}),
        "search_tools",
        json!({ "query": "act_07", "limit": 1 }),
    )
    .await;
    let found = &found["structuredContent"];
    assert_eq!(
        (&found["tools"][0]["name"], &found["total"]),
        (&json!("shop.act_07"), &json!(62)),
        "{found}"
    );
    let made = json!({ "name": "shop.act_07", "arguments": { "amount": 1, "idempotency_key": "k" } });
    for _ in 0..2 {
        let called = tool(&shop, &json!({}), "call_action", made.clone()).await;
        assert_eq!(called["structuredContent"]["status"], "done", "{called}");
    }
    assert_eq!(shop.till.done.lock().unwrap().len(), 1);
    let wrong = tool(&shop, &json!({}), "call_action", json!({ "tool": "x" })).await;
    assert_eq!(wrong["structuredContent"]["kind"], "usage");
}

/// A lake that keeps what it was asked, and one source.
#[derive(Default)]
struct Pond(Mutex<Vec<String>>);

#[async_trait]
impl Data for Pond {
    async fn query(&self, sql: &str, rows_max: usize) -> Result<Rows> {
        self.0.lock().unwrap().push(format!("{sql} {rows_max}"));
        Ok(Rows {
            columns: vec![query::Column {
                name: "n".to_owned(),
                kind: "BIGINT".to_owned(),
            }],
            rows: vec![vec![json!(1)]],
            truncated: true,
        })
    }

    fn reads(&self, sql: &str) -> Result<Option<BTreeSet<String>>> {
        Ok(sql
            .strip_prefix("select * from ")
            .map(|table| BTreeSet::from([table.to_owned()])))
    }

    async fn streams(&self, _connection: &str) -> Result<Vec<StreamDescriptor>> {
        Ok(vec![StreamDescriptor {
            name: "orders".to_owned(),
            entity: "orders".to_owned(),
            ..StreamDescriptor::default()
        }])
    }

    async fn preview(&self, _connection: &str, stream: Option<&str>, records_max: u64) -> Result<Preview> {
        Ok(Preview {
            stream: stream.unwrap_or("orders").to_owned(),
            records: vec![json!({ "max": records_max })],
        })
    }
}

/// A shop with a pond, beside a connection that policies hide.
async fn by_the_pond() -> (Shop, Arc<Pond>) {
    let text = r#"@id("no-hr") forbid(principal, action, resource) when { resource.connection == "hr" };"#;
    let file = PolicyFile {
        path: "policies/a.cedar".to_owned(),
        text: text.to_owned(),
    };
    let policies = Policies::read(vec![file]).unwrap();
    let policies = Arc::new(InForce::new(policies, Surroundings::default()));
    let pond = Arc::new(Pond::default());
    let kept = pond.clone();
    let shop = shop_with(Till::new(), move |_, tenant, settings| Settings {
        data: Some(DataDesk::new(tenant, kept)),
        policies,
        ..settings
    })
    .await;
    let hr = Connection {
        tenant: shop.served.tenant.clone(),
        ..Connection::new("hr", "http_json", "hr")
    };
    let registered = weir_control::connections::register(&shop.served.store, &hr).await;
    registered.unwrap();
    (shop, pond)
}

/// What a tool gave, or why not.
async fn given(shop: &Shop, name: &str, arguments: Value) -> Value {
    let result = tool(shop, &json!({}), name, arguments).await;
    result["structuredContent"].clone()
}

#[tokio::test]
async fn queries_read_within_limits_and_not_what_policies_hide() {
    let (shop, pond) = by_the_pond().await;
    let rows = given(&shop, "query", json!({ "sql": "select * from shop_orders" })).await;
    assert_eq!(
        (&rows["rows"], &rows["truncated"], &rows["columns"][0]["type"]),
        (&json!([[1]]), &json!(true), &json!("BIGINT"))
    );
    for sql in [
        "select * from hr_people",
        "select * from gold_sales_daily",
        "show tables",
    ] {
        let refused = given(&shop, "query", json!({ "sql": sql })).await;
        assert_eq!(refused["kind"], "denied", "{sql}");
    }
    let many = given(&shop, "query", json!({ "sql": "select 1", "limit": 1001 })).await;
    assert_eq!(many["kind"], "usage");
    assert_eq!(*pond.0.lock().unwrap(), ["select * from shop_orders 100"]);
    let approver = token(&shop.served.store, &shop.served.tenant, Role::Approver).await;
    let seen = names(&shop.served, &approver).await;
    assert!(
        !seen.iter().any(|name| name == "query" || name == "preview"),
        "{seen:?}"
    );
}

#[tokio::test]
async fn streams_records_and_runs_are_those_of_connections_that_are_seen() {
    let (shop, _) = by_the_pond().await;
    let known = given(&shop, "list_streams", json!({})).await;
    assert_eq!(
        known["connections"],
        json!([{ "name": "shop", "connector": "http_json" }])
    );
    let streams = given(&shop, "list_streams", json!({ "connection": "shop" })).await;
    assert_eq!(streams["streams"][0]["table"], "shop_orders");
    let records = given(&shop, "preview", json!({ "connection": "shop", "records": 3 })).await;
    assert_eq!(records["records"], json!([{ "max": 3 }]));
    for name in ["list_streams", "preview", "run_sync"] {
        let refused = given(&shop, name, json!({ "connection": "hr" })).await;
        assert_eq!(refused["kind"], "denied", "{name}");
    }
    let sync = json!({ "connection": "shop", "idempotency_key": "r1" });
    let queued = given(&shop, "run_sync", sync.clone()).await;
    let again = given(&shop, "run_sync", sync).await;
    assert_eq!(
        (&again["run"], &again["replayed"]),
        (&queued["run"], &json!(true)),
        "{queued}"
    );
    let run = given(&shop, "run_status", json!({ "run": queued["run"] })).await;
    assert_eq!(run["run"]["status"], "queued");
}

/// An authorization server at which nobody has consented yet.
#[derive(Debug)]
struct Provider(OauthClient);

#[async_trait]
impl AuthorizationServer for Provider {
    fn client(&self) -> &OauthClient {
        &self.0
    }

    async fn begin_device(&self) -> Result<DeviceCode> {
        Err(Error::usage("no devices").hint("none"))
    }

    async fn exchange(&self, _what: Exchange<'_>) -> Result<Exchanged> {
        Err(Error::usage("no codes").hint("none"))
    }

    async fn revoke(&self, _token: &Secret) -> Result<()> {
        Ok(())
    }
}

struct Providers;

#[async_trait]
impl oauth::Servers for Providers {
    async fn grants(&self) -> Result<oauth::Grants> {
        Err(Error::usage("no key").hint("none"))
    }

    async fn server(&self, _connection: &str) -> Result<Option<Arc<dyn AuthorizationServer>>> {
        Ok(Some(Arc::new(Provider(OauthClient {
            grant: spec::Oauth2Grant::AuthorizationCode,
            client_id: "c".to_owned(),
            token_url: "https://till.example/token".to_owned(),
            issuer: None,
            authorize_url: None,
            authorize_params: Vec::new(),
            scopes: Vec::new(),
            can_device: false,
            can_revoke: false,
            seed: None,
        }))))
    }
}

/// A shop whose connection's account can be connected by whoever holds it.
async fn shop_of_accounts() -> Shop {
    let page = "http://127.0.0.1:7373";
    shop_with(Till::new(), |store, tenant, settings| Settings {
        oauth: Some(Desk::new(store, tenant, Arc::new(Providers), page)),
        ..settings
    })
    .await
}

#[tokio::test]
async fn the_revision_before_is_told_of_the_account_by_an_error_of_its_own() {
    let shop = shop_of_accounts().await;
    let arguments = json!({ "then": "unsigned" });
    let params = json!({ "name": "shop.tip", "arguments": arguments, "_meta": {
        "io.modelcontextprotocol/clientCapabilities": browses() } });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string();
    let bearer = format!("Bearer {}", shop.agent);
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    let older = shop.served.send("POST", "/mcp", &headers, &body).await.json();
    let (error, elicitation) = (&older["error"], &older["error"]["data"]["elicitations"][0]);
    let page = json!("http://127.0.0.1:7373/connect/shop");
    assert_eq!(
        (&error["code"], &elicitation["mode"], &elicitation["url"]),
        (&json!(-32042), &json!("url"), &page),
        "{older}"
    );
    assert!(
        elicitation["elicitationId"].is_string() && error["data"]["call"].is_string(),
        "{older}"
    );
}

#[tokio::test]
async fn a_client_is_asked_to_have_the_account_connected_and_shows_its_state_once() {
    let shop = shop_of_accounts().await;
    let arguments = json!({ "then": "unsigned" });
    let told = tool(&shop, &json!({}), "shop.tip", arguments.clone()).await;
    assert_eq!(
        (&told["isError"], &told["structuredContent"]["kind"]),
        (&json!(true), &json!("auth")),
        "{told}"
    );
    let context = &told["structuredContent"]["context"];
    assert_eq!(context["url"], "http://127.0.0.1:7373/connect/shop");
    let id = context["call"].as_str().unwrap();
    let access = Access::command_line(&shop.served.tenant);
    let call = weir_control::calls::get(&shop.served.store, &access, id)
        .await
        .unwrap();
    assert_eq!(call.status, weir_control::calls::Status::Failed);
    let asked_first = tool(&shop, &browses(), "shop.tip", arguments.clone()).await;
    assert_eq!(asked_first["resultType"], "input_required", "{asked_first}");
    let question = &asked_first["inputRequests"]["connect_account"]["params"];
    assert_eq!(
        (&question["mode"], &question["url"]),
        (&json!("url"), &json!("http://127.0.0.1:7373/connect/shop"))
    );
    let state = asked_first["requestState"].as_str().unwrap().to_owned();
    let again = async |token: &str, state: &str, arguments: &Value| {
        let answers = json!({ "connect_account": { "action": "accept" } });
        let params = json!({ "name": "shop.tip", "arguments": arguments, "inputResponses": answers, "requestState": state });
        asked(&shop.served, token, &browses(), "tools/call", params).await
    };
    // Somebody else's, another call's, a changed one.
    let refused = &json!(-32602);
    assert_eq!(
        &again(&shop.served.token, &state, &arguments).await["error"]["code"],
        refused
    );
    assert_eq!(
        &again(&shop.agent, &state, &json!({ "amount": 1 })).await["error"]["code"],
        refused
    );
    assert_eq!(
        &again(&shop.agent, &format!("{state}x"), &arguments).await["error"]["code"],
        refused
    );
    let second = again(&shop.agent, &state, &arguments).await;
    assert_eq!(second["result"]["resultType"], "input_required", "{second}");
    assert_eq!(
        &again(&shop.agent, &state, &arguments).await["error"]["code"],
        refused
    );
    // Whoever opens the page has to be somebody here.
    let page = shop.served.send("GET", "/connect/shop", &[], "").await;
    assert_eq!(page.status, 403);
    assert!(page.text.contains("weir auth login shop"), "{}", page.text);
}
