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
async fn what_would_not_be_sent_is_refused_at_once_and_noted() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    let done = world.ask(&agent, 5, Some("k1")).await.unwrap().call;
    world.vendor.feels(Mood::IsShut);
    let before = world.noted().await.len();
    for key in [None, Some("k2")] {
        let error = world.ask(&agent, 6, key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    let noted = world.noted().await;
    let refused = ("call.refuse".to_owned(), "refused".to_owned());
    assert_eq!(noted[before..], [refused.clone(), refused]);
    // What a key is known for is told all the same.
    let replayed = world.ask(&agent, 5, Some("k1")).await.unwrap();
    assert!(replayed.is_replay);
    assert_eq!(replayed.call, done);
    let error = world.ask(&agent, 6, Some("k1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Spec);
    world.vendor.feels(Mood::Fine);
    assert!(!world.ask(&agent, 6, Some("k2")).await.unwrap().is_replay);
    assert_eq!(world.vendor.effects().len(), 2);
}

#[tokio::test]
async fn what_is_refused_before_it_is_a_call_is_noted() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    let analyst = world.person("ana", Kind::User, Role::Analyst).await;
    world.ask(&agent, 5, Some("k1")).await.unwrap();
    let before = world.noted().await.len();
    let wanted = |connection: &str, action: &str, input: Value| {
        let body = json!({ "connection": connection, "action": action, "input": input });
        serde_json::from_value::<Wanted>(body).unwrap()
    };
    let asked = [
        (&agent, wanted("shop", "pay", json!({ "amount": "x" })), None),
        (&agent, wanted("shop", "steal", json!({ "amount": 5 })), None),
        (&agent, wanted("nowhere", "pay", json!({ "amount": 5 })), None),
        (&analyst, wanted("shop", "pay", json!({ "amount": 5 })), None),
        (&agent, wanted("shop", "pay", json!({ "amount": 6 })), Some("k1")),
    ];
    for (access, wanted, key) in &asked {
        world.desk.ask(access, wanted, *key, "test").await.unwrap_err();
    }
    let refused = ("call.refuse".to_owned(), "refused".to_owned());
    assert_eq!(world.noted().await[before..], vec![refused; asked.len()]);
    assert_eq!(world.vendor.effects().len(), 1);
}

#[tokio::test]
async fn what_has_to_be_approved_is_asked_for_whatever_the_breaker_says() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    world.vendor.feels(Mood::IsShut);
    world.rule(json!([{ "name": "all", "class": "required" }]));
    let waiting = world.ask(&agent, 6, None).await.unwrap().call;
    assert_eq!(waiting.status, Status::Waiting);
    world.rule(json!([{ "name": "all", "class": "forbidden" }]));
    let error = world.ask(&agent, 6, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
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
            ("call.end", "uncertain"),
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

/// The vendor as it is after somebody changed the connector or the connection; it has all effects.
fn changed(world: &World, version: &str, fingerprint: &str) -> Arc<Vendor> {
    let mut other = Vendor::new(world.vendor.specs[0].clone());
    other.version = version.to_owned();
    other.fingerprint = fingerprint.to_owned();
    *other.effects.lock().unwrap() = world.vendor.effects();
    let other = Arc::new(other);
    *world.known.vendor.lock().unwrap() = other.clone();
    other
}

#[tokio::test]
async fn a_call_is_not_gone_on_with_under_another_connector_or_connection() {
    for idempotency in [json!({ "header": "Idempotency-Key" }), lookup(), json!("natural")] {
        for (version, fingerprint) in [("1.0.1", "as-asked"), ("1.0.0", "another-account")] {
            for is_dead in [false, true] {
                let world = World::of(idempotency.clone()).await;
                let agent = world.agent().await;
                world.vendor.feels(Mood::LosesRequests);
                let call = world.ask(&agent, 5, Some("k1")).await.unwrap().call;
                assert_eq!(call.status, Status::Uncertain);
                if is_dead {
                    left_running(&world, &call.id).await;
                }
                let other = changed(&world, version, fingerprint);
                // Whatever the other one has under the key is not what was asked for.
                other.happen(&carry::vendor_key(&call.id));
                world.later().await;
                world.desk.work().await.unwrap();
                let left = world.call(&call.id).await;
                assert_eq!(left.status, Status::Uncertain);
                let error = left.error.unwrap();
                assert!(error.hint.unwrap().contains("weir call settle"));
                assert!(
                    error.message.contains("changed after it was asked for"),
                    "{}",
                    error.message
                );
                assert_eq!(*other.requests.lock().unwrap(), 0);
                assert_eq!(world.told().await["call.uncertain"], 1);
                // The key is not free, and nobody looks at it again by itself.
                let again = world.ask(&agent, 5, Some("k1")).await.unwrap();
                assert!(again.is_replay);
                world.later().await;
                assert_eq!(world.desk.work().await.unwrap(), 0);
            }
        }
    }
}

/// As a process leaves a call that died after it had sent it.
async fn left_running(world: &World, id: &str) {
    let owner = serde_json::to_string(&world.doomed().owner).unwrap();
    let update = format!(
        "UPDATE calls SET status = 'running', owner = '{owner}', lease_until_ms = 0, look_at_ms = NULL WHERE id = '{id}'"
    );
    crate::store::testing::execute(&world.store, &update).await;
}

#[tokio::test]
async fn an_answer_that_is_lost_and_a_vendor_that_is_then_away_have_no_second_effect() {
    for idempotency in [json!({ "header": "Idempotency-Key" }), lookup(), json!("none")] {
        let heals = idempotency != json!("none");
        let world = World::of(idempotency).await;
        let agent = world.agent().await;
        world.vendor.feels(Mood::DoesItAndGoes);
        let call = world.ask(&agent, 5, Some("k1")).await.unwrap().call;
        assert_eq!(call.status, Status::Uncertain);
        for _ in 0..2 {
            // That it cannot be reached now surely had no effect: but the try before it had.
            world.later().await;
            world.desk.work().await.unwrap();
            let again = world.ask(&agent, 5, Some("k1")).await.unwrap();
            assert!(again.is_replay);
            assert_eq!(
                (again.call.id.as_str(), again.call.status),
                (call.id.as_str(), Status::Uncertain)
            );
        }
        world.vendor.feels(Mood::Fine);
        assert!(world.ask(&agent, 5, Some("k1")).await.unwrap().is_replay);
        world.later().await;
        world.desk.work().await.unwrap();
        let ended = world.ask(&agent, 5, Some("k1")).await.unwrap();
        let expected = if heals { Status::Done } else { Status::Uncertain };
        assert_eq!((ended.is_replay, ended.call.status), (true, expected));
        assert_eq!(world.vendor.effects(), [format!("weir-{}", call.id)]);
    }
}

#[tokio::test]
async fn what_old_calls_said_is_erased_and_that_they_were_made_stays() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    let approver = world.person("ann", Kind::User, Role::Approver).await;
    let done = world.ask(&agent, 987_654, Some("k1")).await.unwrap().call;
    world.vendor.feels(Mood::LosesAnswers);
    let open = world.ask(&agent, 5, Some("k2")).await.unwrap().call;
    world.vendor.feels(Mood::Fine);
    world.rule(json!([{ "name": "all", "class": "required" }]));
    let rejected = world.ask(&agent, 987_655, None).await.unwrap().call;
    let no = crate::approvals::Decision {
        verdict: crate::approvals::Verdict::Reject,
        reason: None,
        break_glass: false,
        digest: None,
    };
    world.desk.decide(&approver, &rejected.id, &no).await.unwrap();
    let waiting = world.ask(&agent, 6, None).await.unwrap().call;
    assert_eq!(erase(&world.store, KEPT_DEFAULT).await.unwrap(), 0);
    let age = |days: i64| {
        let ms = days * 86_400_000;
        format!(
            "UPDATE calls SET created_at_ms = created_at_ms - {ms}, finished_at_ms = finished_at_ms - {ms}"
        )
    };
    // However short it is said to be, keys outlive a day.
    crate::store::testing::execute(&world.store, &age(1)).await;
    assert_eq!(erase(&world.store, std::time::Duration::ZERO).await.unwrap(), 0);
    assert!(world.ask(&agent, 987_654, Some("k1")).await.unwrap().is_replay);
    crate::store::testing::execute(&world.store, &age(90)).await;
    assert_eq!(erase(&world.store, KEPT_DEFAULT).await.unwrap(), 2);
    assert_eq!(erase(&world.store, KEPT_DEFAULT).await.unwrap(), 0);
    for before in [&done, &rejected] {
        let after = world.call(&before.id).await;
        assert!(after.input.is_empty() && after.output.is_none() && after.idempotency_key.is_none());
        assert!(after.erased_at_ms.is_some());
        assert_eq!(
            (&after.digest, &after.remote_id),
            (&before.digest, &before.remote_id)
        );
    }
    let shown = crate::approvals::get(&world.store, &approver, &rejected.id)
        .await
        .unwrap();
    assert_eq!((shown.request.url.as_str(), shown.request.body), ("", None));
    // What is not over keeps what it needs.
    assert_eq!(world.call(&open.id).await.input, open.input);
    assert_eq!(world.call(&waiting.id).await.input, waiting.input);
    assert!(
        world
            .noted()
            .await
            .contains(&("call.erase".to_owned(), "done".to_owned()))
    );
}
