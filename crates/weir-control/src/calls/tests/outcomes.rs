use weir_protocol::ErrorKind;

use super::*;

#[tokio::test]
async fn a_call_is_made_once_and_its_outcome_is_kept_with_both_records() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    let answered = world.ask(&agent, 5, Some("k1")).await.unwrap();
    let call = answered.call;
    assert!(!answered.is_replay);
    assert_eq!(call.status, Status::Done);
    assert_eq!(call.remote_id, Some(format!("pay_weir-{}", call.id)));
    assert_eq!(call.http_status, Some(201));
    assert_eq!(call.output, Some(json!({ "id": format!("weir-{}", call.id) })));
    assert!(call.began_at_ms.is_some() && call.finished_at_ms.is_some());
    assert_eq!(
        world.noted().await,
        pairs(&[("call.begin", "done"), ("call.end", "done")])
    );
    assert_eq!(world.told().await["call.ended"], 1);
    assert_eq!(world.vendor.effects().len(), 1);
}

#[tokio::test]
async fn the_same_key_gives_the_same_call_and_another_input_is_refused() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    let first = world.ask(&agent, 5, Some("k1")).await.unwrap().call;
    let again = world.ask(&agent, 5, Some("k1")).await.unwrap();
    assert!(again.is_replay);
    assert_eq!(again.call, first);
    let error = world.ask(&agent, 6, Some("k1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Spec);
    assert!(error.next_step().is_some());
    // Somebody else's key is another one.
    let other = world.person("other", Kind::Agent, Role::Agent).await;
    assert!(!world.ask(&other, 5, Some("k1")).await.unwrap().is_replay);
    assert_eq!(world.vendor.effects().len(), 2);
}

#[tokio::test]
async fn a_key_under_way_is_a_conflict() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    let held = world.vendor.gate.acquire_many(1000).await.unwrap();
    let (desk, asking) = (world.desk.clone(), agent.clone());
    let first = tokio::spawn(async move { desk.ask(&asking, &pay(5), Some("k1"), "test").await });
    while world.vendor.effects().is_empty() {
        tokio::task::yield_now().await;
    }
    let error = world.ask(&agent, 5, Some("k1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    // Nobody goes on with what a living process has.
    world.desk.work().await.unwrap();
    drop(held);
    assert_eq!(first.await.unwrap().unwrap().call.status, Status::Done);
    assert!(world.ask(&agent, 5, Some("k1")).await.unwrap().is_replay);
    assert_eq!(world.vendor.effects().len(), 1);
}

#[tokio::test]
async fn two_at_once_with_one_key_have_one_effect() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    let asked = (0..8).map(|_| world.ask(&agent, 5, Some("k1")));
    let all = futures::future::join_all(asked).await;
    assert!(all.iter().any(Result::is_ok));
    assert_eq!(world.vendor.effects().len(), 1);
}

#[tokio::test]
async fn what_is_refused_before_it_begins_uses_no_key() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    let wrong = Wanted {
        input: Map::new(),
        ..pay(1)
    };
    let error = world
        .desk
        .ask(&agent, &wrong, Some("k1"), "test")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    let unknown = Wanted {
        action: "pai".to_owned(),
        ..pay(1)
    };
    let error = world
        .desk
        .ask(&agent, &unknown, Some("k1"), "test")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    world
        .desk
        .ask(&agent, &pay(1), Some("a key"), "test")
        .await
        .unwrap_err();
    assert!(!world.ask(&agent, 5, Some("k1")).await.unwrap().is_replay);
    assert_eq!(world.vendor.effects().len(), 1);
}

#[tokio::test]
async fn a_refusal_of_the_vendor_is_kept_and_an_outage_gives_the_key_back() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    world.vendor.feels(Mood::Refuses);
    let failed = world.ask(&agent, 5, Some("k1")).await.unwrap().call;
    assert_eq!(failed.status, Status::Failed);
    assert_eq!(failed.error.as_ref().unwrap().kind, "source");
    world.vendor.feels(Mood::IsAway);
    let away = world.ask(&agent, 5, Some("k2")).await.unwrap().call;
    assert_eq!((away.status, away.idempotency_key), (Status::Failed, None));
    world.vendor.feels(Mood::Fine);
    let replayed = world.ask(&agent, 5, Some("k1")).await.unwrap();
    assert!(replayed.is_replay);
    assert_eq!(replayed.call, failed);
    let again = world.ask(&agent, 5, Some("k2")).await.unwrap();
    assert_eq!((again.is_replay, again.call.status), (false, Status::Done));
}

#[tokio::test]
async fn a_lost_answer_stays_uncertain_until_a_person_settles_it() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    let approver = world.person("ann", Kind::User, Role::Approver).await;
    world.vendor.feels(Mood::LosesAnswers);
    let call = world.ask(&agent, 5, Some("k1")).await.unwrap().call;
    assert_eq!(call.status, Status::Uncertain);
    assert_eq!(world.told().await, [("call.uncertain".to_owned(), 1)].into());
    world.vendor.feels(Mood::Fine);
    world.later().await;
    world.desk.work().await.unwrap();
    assert_eq!(world.call(&call.id).await.status, Status::Uncertain);
    assert_eq!(
        world.ask(&agent, 5, Some("k1")).await.unwrap().call.status,
        Status::Uncertain
    );
    assert_eq!(*world.vendor.requests.lock().unwrap(), 1);
    let found = Found {
        happened: true,
        reason: "payment pay_9 in the dashboard".to_owned(),
        remote_id: Some("pay_9".to_owned()),
    };
    settle(&world.store, &agent, &call.id, &found).await.unwrap_err();
    let silent = Found {
        reason: " ".to_owned(),
        ..found.clone()
    };
    assert_eq!(
        settle(&world.store, &approver, &call.id, &silent)
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::Usage
    );
    let settled = settle(&world.store, &approver, &call.id, &found).await.unwrap();
    assert_eq!(
        (settled.status, settled.settled_by.as_deref()),
        (Status::Done, Some("ann"))
    );
    assert_eq!(settled.remote_id.as_deref(), Some("pay_9"));
    let error = settle(&world.store, &approver, &call.id, &found)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(
        world.noted().await,
        pairs(&[
            ("call.begin", "done"),
            ("call.end", "failed"),
            ("call.settle", "done")
        ])
    );
}

#[tokio::test]
async fn a_lookup_tells_what_became_of_a_lost_answer() {
    let world = World::of(lookup()).await;
    let agent = world.agent().await;
    world.vendor.feels(Mood::LosesAnswers);
    assert_eq!(
        world.ask(&agent, 5, None).await.unwrap().call.status,
        Status::Done
    );
    // The request is lost: that the vendor has nothing yet says nothing, and says it later.
    world.vendor.feels(Mood::LosesRequests);
    let lost = world.ask(&agent, 6, None).await.unwrap().call;
    assert_eq!(lost.status, Status::Uncertain);
    world.desk.work().await.unwrap();
    assert_eq!(world.call(&lost.id).await.status, Status::Uncertain);
    world.later().await;
    world.desk.work().await.unwrap();
    assert_eq!(world.call(&lost.id).await.status, Status::Failed);
    assert_eq!(world.vendor.effects().len(), 1);
    assert_eq!(*world.vendor.requests.lock().unwrap(), 2);
}

#[tokio::test]
async fn a_vendor_that_honours_keys_is_asked_again_under_the_same_key() {
    let world = World::of(json!({ "header": "Idempotency-Key" })).await;
    let agent = world.agent().await;
    world.vendor.feels(Mood::LosesAnswers);
    let call = world.ask(&agent, 5, None).await.unwrap().call;
    assert_eq!(call.status, Status::Uncertain);
    // It is found out without anybody.
    assert!(world.told().await.is_empty());
    world.vendor.feels(Mood::Fine);
    world.later().await;
    world.desk.work().await.unwrap();
    assert_eq!(world.call(&call.id).await.status, Status::Done);
    assert_eq!(world.vendor.effects(), [format!("weir-{}", call.id)]);
}

#[tokio::test]
async fn one_that_never_answers_is_left_to_a_person_at_last() {
    let world = World::of(json!({ "header": "Idempotency-Key" })).await;
    let agent = world.agent().await;
    world.vendor.feels(Mood::LosesAnswers);
    let call = world.ask(&agent, 5, None).await.unwrap().call;
    for _ in 0..20 {
        world.later().await;
        world.desk.work().await.unwrap();
    }
    let call = world.call(&call.id).await;
    assert_eq!(call.status, Status::Uncertain);
    assert!(call.error.unwrap().hint.unwrap().contains("weir call settle"));
    assert_eq!(*world.vendor.requests.lock().unwrap(), 6);
    assert_eq!(world.vendor.effects().len(), 1);
}

#[tokio::test]
async fn a_process_that_lost_its_call_changes_nothing() {
    let world = World::of(lookup()).await;
    let agent = world.agent().await;
    let held = world.vendor.gate.acquire_many(1000).await.unwrap();
    let (slow, asking) = (world.doomed(), agent.clone());
    let first = tokio::spawn(async move { slow.ask(&asking, &pay(5), Some("k1"), "test").await });
    while world.vendor.effects().is_empty() {
        tokio::task::yield_now().await;
    }
    // To others it looks dead; they look the effect up, and end the call.
    world.desk.work().await.unwrap();
    let call = world.ask(&agent, 5, Some("k1")).await.unwrap().call;
    assert_eq!((call.status, call.term), (Status::Done, 2));
    world.vendor.feels(Mood::Refuses);
    drop(held);
    let late = first.await.unwrap().unwrap().call;
    assert_eq!(late, call);
    let ends = world
        .noted()
        .await
        .into_iter()
        .filter(|(action, _)| action == "call.end")
        .count();
    assert_eq!(ends, 1);
    assert_eq!(world.vendor.effects().len(), 1);
}
