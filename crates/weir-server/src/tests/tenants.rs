//! Tenants over the API: seen as a whole and made by admins of the default one alone.

use weir_control::DEFAULT_TENANT;

use super::*;

#[tokio::test]
async fn admins_of_the_default_tenant_see_and_make_tenants_and_nobody_else_does() {
    let served = served().await;
    let admin = token(&served.store, DEFAULT_TENANT, Role::Admin).await;
    let name = format!("n-{}", uuid::Uuid::now_v7());
    let body = format!(r#"{{"name": "{name}"}}"#);
    let operator = token(&served.store, DEFAULT_TENANT, Role::Approver).await;
    // Admins of another tenant, and others of the default one.
    served.ask("POST", "/api/v1/tenants", &body).await.problem(403);
    served
        .ask_as(&operator, "POST", "/api/v1/tenants", &body)
        .await
        .problem(403);
    let made = served.ask_as(&admin, "POST", "/api/v1/tenants", &body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let place = made.header("location").unwrap();
    assert_eq!(
        served.ask_as(&admin, "GET", place, "").await.json()["name"],
        name.as_str()
    );
    served
        .ask_as(&admin, "POST", "/api/v1/tenants", &body)
        .await
        .problem(409);
    for (body, status) in [(r#"{"name": "North"}"#, 400), ("{}", 422)] {
        served
            .ask_as(&admin, "POST", "/api/v1/tenants", body)
            .await
            .problem(status);
    }

    let names = async |token: &str| -> Vec<String> {
        let page = served
            .ask_as(token, "GET", "/api/v1/tenants?limit=200", "")
            .await
            .json();
        let items = page["items"].as_array().unwrap().iter();
        items
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&served.token).await, [served.tenant.as_str()]);
    assert_eq!(names(&operator).await, [DEFAULT_TENANT]);
    // On a database that tests share there may be more than a page of them.
    let all = names(&admin).await;
    assert!(all.len() >= 3, "{all:?}");
    for token in [&served.token, &operator] {
        let hidden = served.ask_as(token, "GET", place, "").await.problem(404);
        assert!(!hidden["next_step"].to_string().contains("did you mean"));
    }
    let own = format!("/api/v1/tenants/{}", served.tenant);
    assert_eq!(served.ask("GET", &own, "").await.status, 200);
}
