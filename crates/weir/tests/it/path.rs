use serde_json::{Value, json};
use wiremock::matchers::{method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::Project;

fn record(id: u64) -> Value {
    json!({ "id": id, "name": format!("name {id}"), "updated_at": format!("2026-01-01T00:00:{:02}Z", id % 60) })
}

/// Two pages of records; one record lacks its key, one has another type.
async fn api() -> MockServer {
    let server = MockServer::start().await;
    let mut second = vec![record(11), record(12)];
    second.push(json!({ "name": "no key", "updated_at": "2026-01-01T00:00:20Z" }));
    second.push(json!({ "id": "text", "name": "x", "updated_at": "2026-01-01T00:00:21Z" }));
    let first: Vec<Value> = (1..=10).map(record).collect();
    for (page, rows) in [("1", first), ("2", second)] {
        Mock::given(method("GET"))
            .and(path("/orders"))
            .and(query_param("page", page))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "data": rows })))
            .mount(&server)
            .await;
    }
    Mock::given(path("/me"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({})))
        .mount(&server)
        .await;
    server
}

fn connection(url: &str) -> String {
    format!(
        "connector: http_json\nsource: shop\nallow_private_hosts: true\nconfig:\n  base_url: {url}\n  check: {{ path: /me }}\n  streams:\n\
         \x20   - name: orders\n      path: /orders\n      select: data\n      primary_key: [id]\n\
         \x20     paginate: {{ by: page_number, request: {{ param: page }}, size: {{ param: size, value: 10 }} }}\n\
         \x20     cursor: {{ field: updated_at, order: ascending }}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_new_folder_to_an_answer() {
    let server = api().await;
    let project = Project::new();
    project.write("connections/shop.yaml", &connection(&server.uri()));
    project.write(
        "models/gold_sales_names.sql",
        "/* weir\nmaterialize: table\nchecks: [{ unique: name }]\n*/\nselect name from shop_orders\n",
    );

    project.run(&["validate"]).ok();
    project.run(&["check", "shop"]).ok();
    assert_eq!(project.json(&["discover", "shop"])[0]["name"], "orders");
    let shown = project.run(&["preview", "shop", "orders"]).ok().stdout;
    assert!(shown.contains("timestamp") && shown.contains("name 1"), "{shown}");
    assert!(
        !project.path().join("lake/silver").exists(),
        "a preview writes nothing"
    );

    let books = project.json(&["sync", "shop", "--no-progress"]);
    let book = &books[0];
    assert_eq!(
        (&book["read"], &book["landed"], &book["quarantined"]),
        (&json!(14), &json!(12), &json!(2)),
        "{book}"
    );
    assert_eq!(
        project.query("SELECT count(*) AS n, max(id) AS m FROM shop_orders"),
        json!([{ "n": 12, "m": 12 }])
    );

    let runs = project.json(&["run", "list"]);
    assert_eq!(runs[0]["status"], "succeeded");
    let run = runs[0]["id"].as_str().unwrap();
    assert!(
        project
            .run(&["run", "show", run])
            .ok()
            .stdout
            .contains("sync_shop_orders_incremental_merge")
    );
    assert!(
        project
            .run(&["run", "logs", run])
            .ok()
            .stdout
            .contains("checkpoint")
    );
    assert_eq!(project.json(&["state", "show", "shop"])[0]["stream"], "orders");

    let held = project.json(&["quarantine", "list", "shop"]);
    assert_eq!(held.as_array().unwrap().len(), 2);
    project.run(&["model", "run"]).ok();
    assert_eq!(
        project.query("SELECT count(*) AS n FROM gold_sales_names"),
        json!([{ "n": 12 }])
    );
    project.run(&["doctor"]).ok();
    maintain(&project);
}

fn maintain(project: &Project) {
    let tables = project.json(&["lake", "tables"]);
    assert_eq!(tables.as_array().unwrap().len(), 2, "{tables}");
    project.run(&["lake", "compact"]).ok();
    project.run(&["lake", "vacuum", "--dry-run"]).ok();
    project.run(&["lake", "rebuild", "shop", "orders"]).ok();
    assert_eq!(
        project.query("SELECT count(*) AS n FROM shop_orders"),
        json!([{ "n": 12 }])
    );
    project.run(&["lake", "usage"]).ok();
    // A record without its key cannot be looked for, and is counted.
    project
        .run(&["reconcile", "shop"])
        .refused(7, &["source and lake differ"]);
    project
        .run(&[
            "quarantine",
            "discard",
            "shop",
            "orders",
            "--all",
            "--why",
            "test",
        ])
        .ok();
    assert!(
        project
            .run(&["quarantine", "list", "shop"])
            .ok()
            .stdout
            .contains("nothing")
    );
    project.run(&["state", "reset", "shop", "orders"]).ok();
    let csv = project
        .run(&[
            "query",
            "SELECT id FROM shop_orders ORDER BY id LIMIT 2",
            "--format",
            "csv",
        ])
        .ok();
    assert_eq!(csv.stdout, "id\n1\n2\n");
    project
        .run(&["query", "SELECT * FROM shop_orders", "--output", "orders.parquet"])
        .ok();
    assert!(
        std::fs::read(project.path().join("orders.parquet"))
            .unwrap()
            .starts_with(b"PAR1")
    );
}

const MANIFEST: &str = r#"spec: 1
connector: shop
version: 1.0.0
name: { en: Shop }
hosts: ["{{ config.host }}"]
config: { type: object, required: [base_url, host], properties: { base_url: { type: string }, host: { type: string } } }
http: { base_url: "{{ config.base_url }}" }
streams:
  - name: orders
    path: /orders
    select: data
    primary_key: [id]
    paginate: { by: page_number, request: { param: page }, size: { param: size, value: 10 } }
    cursor: { field: updated_at, order: ascending }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn speaks_the_airbyte_protocol() {
    let server = api().await;
    let project = Project::new();
    project.write("manifest.yaml", MANIFEST);
    let host = server.address().to_string();
    project.write(
        "config.json",
        &json!({ "base_url": server.uri(), "host": host, "allow_private_hosts": true }).to_string(),
    );
    let catalog = json!({ "streams": [{ "stream": { "name": "orders" }, "sync_mode": "incremental", "destination_sync_mode": "append" }] });
    project.write("catalog.json", &catalog.to_string());
    let messages = |args: &[&str]| -> Vec<Value> {
        let mut all = vec!["source", "--manifest", "manifest.yaml"];
        all.extend(args);
        let out = project.run(&all).ok().stdout;
        out.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    assert_eq!(messages(&["spec"])[0]["type"], "SPEC");
    let status = messages(&["check", "--config", "config.json"]);
    assert_eq!(status[0]["connectionStatus"]["status"], "SUCCEEDED", "{status:?}");
    let found = messages(&["discover", "--config", "config.json"]);
    assert_eq!(
        found[0]["catalog"]["streams"][0]["source_defined_primary_key"],
        json!([["id"]])
    );
    let read = messages(&["read", "--config", "config.json", "--catalog", "catalog.json"]);
    let records = read.iter().filter(|message| message["type"] == "RECORD").count();
    assert_eq!(records, 14);
    let state = read.iter().rfind(|message| message["type"] == "STATE").unwrap();
    project.write("state.json", &json!([state["state"]]).to_string());
    let again = messages(&[
        "read",
        "--config",
        "config.json",
        "--catalog",
        "catalog.json",
        "--state",
        "state.json",
    ]);
    let records = again.iter().filter(|message| message["type"] == "RECORD").count();
    assert!(records < 14, "the state was not read on from: {records} records");
}
