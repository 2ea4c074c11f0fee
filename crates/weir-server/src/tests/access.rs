//! Who may ask, and how often.

use std::num::NonZeroU32;

use weir_control::principals::{self, Permission};

use super::*;
use crate::api::{BASE, endpoints};

/// A path of a route, with something in the place of each name.
pub(super) fn filled(path: &str) -> String {
    let parts = path
        .split('/')
        .map(|part| if part.starts_with('{') { "x" } else { part });
    format!("{BASE}{}", parts.collect::<Vec<_>>().join("/"))
}

#[tokio::test]
async fn no_route_answers_without_a_token() {
    let served = served().await;
    for endpoint in endpoints() {
        let path = filled(endpoint.path);
        let answer = served.send(endpoint.method.as_str(), &path, &[], "").await;
        answer.problem(401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"weir\""));
    }
    for open in ["/healthz", "/readyz", "/metrics", "/api/v1/openapi.json"] {
        assert_eq!(served.send("GET", open, &[], "").await.status, 200, "{open}");
    }
}

#[tokio::test]
async fn a_wrong_token_is_refused_and_slowed_down_but_never_a_right_one() {
    let served = served().await;
    let answer = served.ask_as("weir_0_0", "GET", "/api/v1/runs", "").await;
    answer.problem(401);
    assert!(
        answer
            .header("www-authenticate")
            .unwrap()
            .contains("invalid_token")
    );
    let mut slowed = None;
    for _ in 0..25 {
        let answer = served.ask_as("nonsense", "GET", "/api/v1/runs", "").await;
        if answer.status == 429 {
            slowed = Some(answer);
            break;
        }
    }
    let slowed = slowed.unwrap();
    slowed.problem(429);
    assert!(slowed.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    assert_eq!(served.get("/api/v1/runs").await.0, 200);

    let basic = [("authorization", "Basic d2Vpcjp3ZWly")];
    assert!([401, 429].contains(&served.send("GET", "/api/v1/runs", &basic, "").await.status));
    let (id, _) = served
        .token
        .strip_prefix("weir_")
        .unwrap()
        .split_once('_')
        .unwrap();
    principals::revoke(&served.store, &served.tenant, id)
        .await
        .unwrap();
    assert!([401, 429].contains(&served.ask("GET", "/api/v1/runs", "").await.status));
}

#[tokio::test]
async fn each_route_asks_for_its_permission_and_names_it() {
    let served = served().await;
    let mut refused_changes = Vec::new();
    for role in Role::ALL {
        let token = token(&served.store, &served.tenant, role).await;
        for endpoint in endpoints() {
            let path = filled(endpoint.path);
            let answer = served.ask_as(&token, endpoint.method.as_str(), &path, "").await;
            let may = role.permissions().contains(&endpoint.permission);
            assert_eq!(answer.status != 403, may, "{role} {} {path}", endpoint.method);
            if !may {
                let body = answer.problem(403);
                assert_eq!(body["context"]["missing"], endpoint.permission.as_str());
                let challenge = answer.header("www-authenticate").unwrap();
                assert!(
                    challenge.contains("insufficient_scope")
                        && challenge.contains(endpoint.permission.as_str())
                );
                if endpoint.permission.as_str().ends_with(":write") {
                    refused_changes.push(format!("route:{}", endpoint.path));
                }
            }
        }
    }
    let noted = served.noted("access.refuse").await;
    let noted: Vec<String> = noted.into_iter().map(|entry| entry.subject).collect();
    assert_eq!(noted, refused_changes);
    let reads = endpoints()
        .into_iter()
        .filter(|endpoint| endpoint.method == "GET");
    for endpoint in reads {
        assert!(
            endpoint.permission.as_str().ends_with(":read"),
            "{}",
            endpoint.path
        );
    }
    assert_ne!(Permission::RunsRead, Permission::RunsWrite);
}

#[tokio::test]
async fn a_token_that_asks_too_often_waits_and_others_do_not() {
    let served = served_with(Settings {
        requests_per_minute: NonZeroU32::new(3).unwrap(),
        ..Settings::default()
    })
    .await;
    let other = token(&served.store, &served.tenant, Role::Analyst).await;
    for _ in 0..3 {
        assert_eq!(served.get("/api/v1/runs").await.0, 200);
    }
    let answer = served.ask("GET", "/api/v1/runs", "").await;
    answer.problem(429);
    let wait: u32 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=21).contains(&wait), "{wait}");
    assert_eq!(served.ask_as(&other, "GET", "/api/v1/runs", "").await.status, 200);
}

#[tokio::test]
async fn a_review_tells_what_providers_granted_page_by_page() {
    let served = served().await;
    let theirs = routes::Belongings::of(&served).await;
    let review = served
        .ask_as(&theirs.admin, "GET", "/api/v1/access-review?limit=200", "")
        .await
        .json();
    let lines = review["items"].as_array().unwrap();
    let granted: Vec<&Value> = lines.iter().filter(|line| line["oauth"].is_object()).collect();
    assert_eq!(granted.len(), 1, "{review}");
    assert_eq!(
        (&granted[0]["oauth"]["connection"], &granted[0]["principal"]),
        (&theirs.connection.as_str().into(), &"weir".into())
    );
    assert_eq!(granted[0]["permissions"], serde_json::json!([]));
    let tokens = lines.iter().filter(|line| line["token"].is_object());
    assert_eq!(tokens.count(), 1);
}

#[tokio::test]
async fn tokens_are_made_used_listed_reviewed_and_ended() {
    let served = served().await;
    let wanted =
        r#"{"principal": "loader", "roles": ["analyst"], "scopes": ["runs:write"], "expires_in_days": 2}"#;
    let made = served.ask("POST", "/api/v1/tokens", wanted).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let new = made.json();
    let (id, bearer) = (new["id"].as_str().unwrap(), new["bearer"].as_str().unwrap());
    assert_eq!(
        made.header("location"),
        Some(format!("/api/v1/tokens/{id}").as_str())
    );
    assert_eq!(new["created_by"], "admin");
    assert_eq!(served.ask_as(bearer, "GET", "/api/v1/runs", "").await.status, 200);
    served
        .ask_as(bearer, "GET", "/api/v1/tokens", "")
        .await
        .problem(403);

    let listed = served.ask("GET", "/api/v1/tokens", "").await;
    assert!(!listed.text.contains(bearer.rsplit('_').next().unwrap()));
    assert_eq!(listed.json()["items"].as_array().unwrap().len(), 2);
    let (_, review) = served.get("/api/v1/access-review").await;
    let line = &review["items"].as_array().unwrap()[1];
    assert_eq!(
        (&line["principal"], &line["kind"]),
        (&"loader".into(), &"token".into())
    );
    assert!(line["token"]["last_used_at_ms"].is_i64());

    let end = format!("/api/v1/tokens/{id}/revoke");
    assert_eq!(served.ask("POST", &end, "").await.json()["status"], "revoked");
    served
        .ask_as(bearer, "GET", "/api/v1/runs", "")
        .await
        .problem(401);
    for (body, status) in [
        (r#"{"principal": "x", "roles": ["king"]}"#, 422),
        (r#"{"principal": "x"}"#, 400),
        (
            r#"{"principal": "x", "roles": ["agent"], "expires_in_days": 0}"#,
            400,
        ),
        (
            r#"{"principal": "x", "roles": ["agent"], "expires_in_days": 367}"#,
            400,
        ),
        (r#"{"principal": "x", "kind": "system", "roles": ["agent"]}"#, 422),
        (
            r#"{"principal": "loader", "kind": "agent", "roles": ["agent"]}"#,
            409,
        ),
    ] {
        served.ask("POST", "/api/v1/tokens", body).await.problem(status);
    }
}
