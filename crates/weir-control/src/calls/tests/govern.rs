use weir_protocol::ErrorKind;

use super::*;
use crate::policies::{PolicyFile, Surroundings};

#[tokio::test]
async fn a_rule_forbids_and_the_refusal_is_noted() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    world.rule(json!([{ "name": "large", "class": "forbidden", "when": [{ "above": { "field": "amount", "value": 100 } }] }]));
    let error = world.ask(&agent, 101, Some("k1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("large"), "{error}");
    assert_eq!(world.noted().await, pairs(&[("call.refuse", "refused")]));
    assert_eq!(
        world.ask(&agent, 100, Some("k1")).await.unwrap().call.status,
        Status::Done
    );
    assert_eq!(world.vendor.effects().len(), 1);
}

#[tokio::test]
async fn a_policy_forbids_by_effect_connection_and_action() {
    for text in [
        r#"@id("no-money") forbid(principal, action == Action::"actions:write", resource is Call) when { resource.effect == "money" };"#,
        r#"@id("no-money") forbid(principal, action, resource == Call::"shop/pay");"#,
        r#"@id("no-money") forbid(principal, action, resource in Connection::"shop");"#,
    ] {
        let mut world = World::of(json!("none")).await;
        let agent = world.agent().await;
        let file = PolicyFile {
            path: "policies/a.cedar".to_owned(),
            text: text.to_owned(),
        };
        let in_force = InForce::begin(&world.store, vec![file], Surroundings::default())
            .await
            .unwrap();
        world.desk.policies = Arc::new(in_force);
        let error = world.ask(&agent, 5, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.to_string().contains("no-money"), "{error}");
        let noted = world.noted().await;
        assert!(
            noted.contains(&("policy.refuse".to_owned(), "refused".to_owned())),
            "{noted:?}"
        );
        assert!(world.vendor.effects().is_empty());
    }
}

#[tokio::test]
async fn who_may_not_call_and_who_is_of_another_tenant_is_refused() {
    let world = World::of(json!("none")).await;
    let analyst = world.person("eve", Kind::User, Role::Analyst).await;
    assert_eq!(
        world.ask(&analyst, 5, None).await.unwrap_err().kind(),
        ErrorKind::Denied
    );
    let far = Access {
        tenant: "far".to_owned(),
        ..world.agent().await
    };
    assert_eq!(
        world.ask(&far, 5, None).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert!(world.desk.offers(&far).await.unwrap().is_empty());
    assert!(world.vendor.effects().is_empty());
}

#[tokio::test]
async fn a_dry_run_shows_the_request_and_who_would_be_asked_and_keeps_nothing() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    world.rule(json!([{ "name": "often", "class": "required", "when": [{ "more_than": { "count": 1, "per": "1h" } }] }]));
    let dry = world.desk.dry_run(&agent, &pay(5), "test").await.unwrap();
    assert_eq!(
        (dry.approval, dry.request.method.as_str()),
        (Approval::Auto, "POST")
    );
    assert!(world.vendor.effects().is_empty());
    world.ask(&agent, 5, None).await.unwrap();
    let dry = world.desk.dry_run(&agent, &pay(5), "test").await.unwrap();
    assert_eq!(
        (dry.approval, dry.rules),
        (Approval::Required, vec!["often".to_owned()])
    );
    assert_eq!(
        world.ask(&agent, 5, None).await.unwrap().call.status,
        Status::Waiting
    );
    let filter = CallFilter {
        limit: 10,
        ..CallFilter::default()
    };
    assert_eq!(list(&world.store, &agent, &filter).await.unwrap().len(), 2);
}

#[tokio::test]
async fn callers_see_their_own_calls_and_approvers_see_all() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    let other = world.person("other", Kind::Agent, Role::Agent).await;
    let approver = world.person("ann", Kind::User, Role::Approver).await;
    let call = world.ask(&agent, 5, None).await.unwrap().call;
    let filter = CallFilter {
        limit: 10,
        ..CallFilter::default()
    };
    for (access, count) in [(&agent, 1), (&other, 0), (&approver, 1)] {
        assert_eq!(list(&world.store, access, &filter).await.unwrap().len(), count);
        assert_eq!(get(&world.store, access, &call.id).await.is_ok(), count == 1);
    }
    let done = CallFilter {
        status: Some(Status::Failed),
        ..filter
    };
    assert!(list(&world.store, &agent, &done).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_input_is_in_no_audit_record() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    world.ask(&agent, 987_654_321, None).await.unwrap();
    let filter = crate::audit::EntryFilter {
        limit: 500,
        ..Default::default()
    };
    for entry in crate::audit::list(&world.store, DEFAULT_TENANT, &filter)
        .await
        .unwrap()
    {
        assert!(!entry.details.contains("987654321"), "{}", entry.details);
    }
}

#[tokio::test]
async fn a_caller_takes_back_their_own_call_before_it_begins_and_not_after() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    world.rule(json!([{ "name": "all", "class": "required" }]));
    let call = world.ask(&agent, 5, None).await.unwrap().call;
    let other = world.person("eve", Kind::Agent, Role::Agent).await;
    let error = take_back(&world.store, &other, &call.id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    for _ in 0..2 {
        let call = take_back(&world.store, &agent, &call.id).await.unwrap();
        assert!(call.is_taken_back(), "{call:?}");
    }
    let noted = world.noted().await;
    let ended = ("approval.end".to_owned(), "refused".to_owned());
    assert_eq!(
        noted.iter().filter(|record| **record == ended).count(),
        1,
        "{noted:?}"
    );
    world.desk.work().await.unwrap();
    assert!(world.vendor.effects().is_empty());
    world.rule(json!([]));
    let done = world.ask(&agent, 5, None).await.unwrap().call;
    let error = take_back(&world.store, &agent, &done.id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn what_is_never_allowed_is_not_offered() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    let names =
        async |access: &Access| -> usize { world.desk.permitted(access, "test").await.unwrap().len() };
    assert_eq!(names(&agent).await, 1);
    let analyst = world.person("ana", Kind::User, Role::Analyst).await;
    assert_eq!(names(&analyst).await, 0);
    world.rule(json!([{ "name": "sometimes", "class": "forbidden", "when": [{ "above": { "field": "amount", "value": 9 } }] }]));
    assert_eq!(names(&agent).await, 1);
    world.rule(json!([{ "name": "never", "class": "forbidden", "kind": "agent" }]));
    assert_eq!(names(&agent).await, 0);
    let far = Access {
        tenant: "far".to_owned(),
        ..agent
    };
    assert_eq!(names(&far).await, 0);
}
