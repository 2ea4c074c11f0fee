//! Policies before every route: generated from the routes, so that a new one is guarded without anybody
//! thinking of it.

use weir_control::audit;
use weir_control::policies::{InForce, Policies, PolicyFile, Surroundings, Target};

use super::routes::{Belongings, operations};
use super::*;
use crate::api::endpoints;
use crate::policy;

const RULES: &str = r#"
@id("shut") forbid(principal == Principal::"shut", action, resource);
@id("blind") forbid(principal == Principal::"blind", action, resource)
    when { resource.connection like "shop-*" };
"#;

async fn governed() -> Served {
    let files = vec![PolicyFile {
        path: "policies/rules.cedar".to_owned(),
        text: RULES.to_owned(),
    }];
    let policies = InForce::new(Policies::read(files).unwrap(), Surroundings::default());
    served_with(Settings {
        policies: Arc::new(policies),
        requests_per_minute: std::num::NonZeroU32::new(10_000).unwrap(),
        ..Settings::default()
    })
    .await
}

async fn admin_called(served: &Served, tenant: &str, name: &str) -> String {
    let new = NewToken {
        principal: name.to_owned(),
        kind: Kind::Token,
        roles: [Role::Admin].into(),
        scopes: std::collections::BTreeSet::new(),
        groups: [].into(),
        expires_in: principals::EXPIRY_DEFAULT,
    };
    let issued = principals::create(&served.store, &Access::command_line(tenant), &new).await;
    issued.unwrap().text.expose().to_owned()
}

#[tokio::test]
async fn every_route_asks_the_policies_whatever_the_roles_say() {
    let served = governed().await;
    let theirs = Belongings::of(&served).await;
    let shut = admin_called(&served, &theirs.tenant, "shut").await;
    let mut writes = 0;
    for (method, path, _) in operations(&served).await {
        let (address, body) = (theirs.fill(&path), theirs.body(&method, &path));
        let answer = served.ask_as(&shut, &method, &address, &body).await;
        let problem = answer.problem(403);
        assert_eq!(problem["context"]["policy"], "shut", "{method} {path}");
        let open = served.ask_as(&theirs.admin, "GET", &address, "").await;
        assert_ne!(open.status, 403, "{method} {path}: {}", open.text);
        // What only looks, though it is posted, is no change to note.
        let looks =
            method == "GET" || path.ends_with("/event-schemas/check") || path.ends_with("/policies/test");
        writes += usize::from(!looks);
    }
    let filter = audit::EntryFilter {
        action: Some("policy.refuse".to_owned()),
        limit: 100,
        ..Default::default()
    };
    let noted = audit::list(&served.store, &theirs.tenant, &filter).await.unwrap();
    assert_eq!(noted.len(), writes);
    assert!(noted.iter().all(|entry| entry.outcome == "refused"));
}

#[tokio::test]
async fn what_a_policy_hides_is_neither_shown_nor_listed_nor_changed() {
    let served = governed().await;
    let theirs = Belongings::of(&served).await;
    let blind = admin_called(&served, &theirs.tenant, "blind").await;
    let mut refused = 0;
    for (method, path, _) in operations(&served).await {
        let (address, body) = (theirs.fill(&path), theirs.body(&method, &path));
        if path.ends_with("/tokens/{id}/revoke") {
            continue;
        }
        let answer = served.ask_as(&blind, &method, &address, &body).await;
        let shows = answer.text.contains(&format!("\"{}\"", theirs.connection));
        assert!(
            answer.status == 403 || !shows,
            "{method} {path} shows: {}",
            answer.text
        );
        if ["{connection}", "{name}", "runs/{id}"]
            .iter()
            .any(|part| path.contains(part))
            && path.contains("onnection")
            || path.contains("/runs/{id}")
        {
            answer.problem(403);
            refused += 1;
        }
    }
    assert!(refused >= 9, "{refused}");
    let started = served
        .ask_as(
            &blind,
            "POST",
            "/api/v1/runs",
            &theirs.body("POST", "/api/v1/runs"),
        )
        .await;
    started.problem(403);
    let query = format!("/api/v1/runs?connection={}", theirs.connection);
    served.ask_as(&blind, "GET", &query, "").await.problem(403);
}

#[tokio::test]
async fn every_name_in_a_path_is_a_target() {
    for endpoint in endpoints() {
        let names: Vec<(String, String)> = endpoint
            .path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| (name.to_owned(), format!("<{name}>")))
            .collect();
        let target = policy::target(endpoint.path, &names);
        assert_eq!(target == Target::Tenant, names.is_empty(), "{}", endpoint.path);
    }
    let target = policy::target(
        "/connections/{name}/states/{stream}",
        &[
            ("name".to_owned(), "a".to_owned()),
            ("stream".to_owned(), "b".to_owned()),
        ],
    );
    assert_eq!(target, Target::Stream("a".to_owned(), "b".to_owned()));
}

#[tokio::test]
async fn the_policies_in_force_are_shown() {
    let served = governed().await;
    let (status, standing) = served.get("/api/v1/policies").await;
    assert_eq!(
        (status, &standing["policies"]),
        (200, &serde_json::json!(["shut", "blind"]))
    );
    assert!(standing["trouble"].is_null() && standing["version"].as_str().unwrap().len() == 64);
}

#[tokio::test]
async fn cases_are_decided_by_the_policies_in_force() {
    let served = governed().await;
    let case = |name: &str, expect: &str| {
        serde_json::json!({
            "name": name,
            "principal": { "name": name, "roles": ["admin"] },
            "action": "runs:write",
            "resource": { "kind": "connection", "name": "shop" },
            "expect": expect,
        })
    };
    let body = serde_json::json!({ "cases": [case("shut", "deny"), case("open", "allow")] });
    let answer = served
        .ask("POST", "/api/v1/policies/test", &body.to_string())
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let outcome = answer.json();
    assert_eq!(outcome["is_as_expected"], true, "{outcome}");
    assert_eq!(outcome["cases"][0]["decision"]["by"], serde_json::json!(["shut"]));
    let body = serde_json::json!({ "cases": [case("shut", "allow")] });
    let answer = served
        .ask("POST", "/api/v1/policies/test", &body.to_string())
        .await;
    let outcome = answer.json();
    assert_eq!(outcome["is_as_expected"], false);
    assert!(outcome["cases"][0]["mistake"].is_string());
    let none = r#"{"cases": []}"#;
    served
        .ask("POST", "/api/v1/policies/test", none)
        .await
        .problem(400);
}
