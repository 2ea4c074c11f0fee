use weir_protocol::ErrorKind;

use super::*;

#[tokio::test]
async fn all_steps_are_made_and_named_by_the_run() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    let run = world.ask(&agent, "three", "x", None).await.unwrap().run;
    assert_eq!(run.status, Status::Done, "{run:?}");
    assert_eq!(run.output, Some(json!({ "first": "r-x-a" })));
    assert_eq!(
        (run.effect, run.steps.len()),
        (weir_protocol::spec::Effect::Write, 4)
    );
    assert_eq!(nets(&world.mart, "x"), [1, 1, 1]);
    // Every external step carries the run's id, and so do its calls, their audit records and events.
    assert!(
        world
            .mart
            .effects()
            .iter()
            .all(|effect| effect.correlation_id == run.id)
    );
    for step in &run.steps {
        let call = calls::find(&world.store, DEFAULT_TENANT, step.call.as_deref().unwrap())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(call.correlation_id.as_ref(), Some(&run.id));
    }
    let step = ["bundle.register", "call.begin", "call.end", "bundle.step"];
    let expected: Vec<&str> = ["bundle.ask"]
        .into_iter()
        .chain(step.repeat(4))
        .chain(["bundle.end"])
        .collect();
    assert_eq!(world.noted(&run.id).await, expected);
    assert_eq!(world.told(&run.id).await, ["bundle.started", "bundle.ended"]);
}

#[tokio::test]
async fn what_is_done_is_taken_back_in_reverse_order() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    world
        .mart
        .will(&[Mood::Fine, Mood::Fine, Mood::Fine, Mood::Refuses]);
    let run = world.ask(&agent, "three", "x", None).await.unwrap().run;
    assert_eq!(run.status, Status::Compensated, "{run:?}");
    assert_eq!(steps(&run), ["done", "undone", "undone", "failed"]);
    assert!(run.error.as_ref().unwrap().message.contains("step 'c' failed"));
    assert_eq!(nets(&world.mart, "x"), [0, 0, 0]);
    let order: Vec<String> = world
        .mart
        .effects()
        .into_iter()
        .map(|effect| effect.thing)
        .collect();
    assert_eq!(order, ["x-a", "x-b", "x-b", "x-a"]);
    assert_eq!(
        world.told(&run.id).await,
        ["bundle.started", "bundle.compensating", "bundle.ended"]
    );
    // Where nothing was done, nothing is taken back.
    world.mart.will(&[Mood::Fine, Mood::Refuses]);
    let run = world.ask(&agent, "three", "y", None).await.unwrap().run;
    assert_eq!((run.status, nets(&world.mart, "y")), (Status::Failed, [0, 0, 0]));
}

#[tokio::test]
async fn a_key_gives_the_same_run_and_no_second_effect() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    let first = world.ask(&agent, "three", "x", Some("k")).await.unwrap();
    let again = world.ask(&agent, "three", "x", Some("k")).await.unwrap();
    assert!(!first.is_replay && again.is_replay);
    assert_eq!(first.run, again.run);
    assert_eq!(nets(&world.mart, "x"), [1, 1, 1]);
    let other = world.ask(&agent, "three", "y", Some("k")).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Spec);
    // What had no effect for a reason that passes gives its key back.
    world.mart.will(&[Mood::IsAway]);
    let away = world.ask(&agent, "three", "z", Some("k2")).await.unwrap().run;
    assert_eq!((away.status, away.idempotency_key), (Status::Failed, None));
    let then = world.ask(&agent, "three", "z", Some("k2")).await.unwrap();
    assert!(!then.is_replay && then.run.status == Status::Done);
    // Nobody takes the keys of steps for their own calls.
    let call = calls::Wanted {
        connection: "shop".to_owned(),
        action: "make".to_owned(),
        input: wanted("x", "x").input,
    };
    let key = format!("bundle/{}/a/0", first.run.id);
    let refused = world
        .desk
        .calls
        .ask(&agent, &call, Some(&key), "test")
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Usage);
    // While a process is at work on it, it is under way.
    let Value::Object(held) = json!({ "run": "h" }) else {
        panic!()
    };
    let wanted = Wanted {
        bundle: "three".to_owned(),
        input: held,
    };
    world
        .desk
        .begin(&agent, &wanted, Some("k3"), "test")
        .await
        .unwrap();
    let busy = world
        .desk
        .ask(&agent, &wanted, Some("k3"), "test")
        .await
        .unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn a_lost_answer_is_looked_up_before_the_run_goes_on() {
    let world = World::of(lookup()).await;
    let agent = world.agent().await;
    world
        .mart
        .will(&[Mood::Fine, Mood::LosesAnswer, Mood::LosesRequest]);
    let run = world.ask(&agent, "three", "x", None).await.unwrap().run;
    // The first was found at once; the second may be on its way still.
    assert_eq!(
        (run.status, steps(&run)),
        (Status::Running, vec!["done", "done", "sent", "planned"])
    );
    assert_eq!(run.waits_for, run.steps[2].call);
    world.rest().await;
    let run = world.run(&run.id).await;
    assert_eq!(
        (run.status, nets(&world.mart, "x")),
        (Status::Compensated, [0, 0, 0]),
        "{run:?}"
    );
}

#[tokio::test]
async fn what_nobody_can_look_up_is_parked_for_a_person() {
    let world = World::of(json!("none")).await;
    let (agent, ann) = (world.agent().await, world.approver().await);
    world.mart.will(&[Mood::Fine, Mood::Fine, Mood::LosesAnswer]);
    let run = world.ask(&agent, "three", "x", None).await.unwrap().run;
    assert_eq!(
        (run.status, run.parked_for),
        (Status::Parked, Some(Parked::Uncertain))
    );
    assert!(
        run.parked_error
            .as_ref()
            .unwrap()
            .hint
            .as_ref()
            .unwrap()
            .contains("settle")
    );
    world.rest().await;
    assert_eq!(world.run(&run.id).await.status, Status::Parked);
    let told = Settled {
        reason: "seen in the mart".to_owned(),
        happened: Some(true),
        remote_id: Some("r-b".to_owned()),
    };
    let agents = world.desk.settle(&agent, &run.id, &told).await.unwrap_err();
    assert_eq!(agents.kind(), ErrorKind::Denied);
    let unsaid = Settled {
        happened: None,
        ..told.clone()
    };
    assert_eq!(
        world
            .desk
            .settle(&ann, &run.id, &unsaid)
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::Usage
    );
    assert_eq!(
        world.desk.retry(&ann, &run.id).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    let run = world.desk.settle(&ann, &run.id, &told).await.unwrap();
    assert_eq!((run.status, nets(&world.mart, "x")), (Status::Done, [1, 1, 1]));
    assert_eq!(
        world.told(&run.id).await,
        ["bundle.started", "bundle.parked", "bundle.ended"]
    );
}

#[tokio::test]
async fn a_call_that_is_settled_lets_its_run_go_on() {
    let world = World::of(json!("none")).await;
    let (agent, ann) = (world.agent().await, world.approver().await);
    world.mart.will(&[Mood::Fine, Mood::Fine, Mood::LosesRequest]);
    let run = world.ask(&agent, "three", "x", None).await.unwrap().run;
    let found = calls::Found {
        happened: false,
        reason: "nothing there".to_owned(),
        remote_id: None,
    };
    let call = run.waits_for.clone().unwrap();
    calls::settle(&world.store, &ann, &call, &found).await.unwrap();
    world.rest().await;
    let run = world.run(&run.id).await;
    assert_eq!(
        (run.status, nets(&world.mart, "x")),
        (Status::Compensated, [0, 0, 0])
    );
}

#[tokio::test]
async fn a_step_may_be_skipped_and_its_output_left_out() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    let text = THREE.replace("name: b\n", "name: b\n    when: \"{{ input.run == 'all' }}\"\n");
    world.bundle("some", &text);
    let run = world.ask(&agent, "some", "x", None).await.unwrap().run;
    assert_eq!((run.status, nets(&world.mart, "x")), (Status::Done, [1, 0, 1]));
    assert_eq!(steps(&run)[2], "skipped");
    let all = world.ask(&agent, "some", "all", None).await.unwrap().run;
    assert_eq!(steps(&all)[2], "done");
}

#[tokio::test]
async fn behind_the_pivot_a_run_goes_forward_only() {
    let world = World::of(json!("none")).await;
    let (agent, ann) = (world.agent().await, world.approver().await);
    // What passes is tried again by itself.
    world
        .mart
        .will(&[Mood::Fine, Mood::Fine, Mood::IsAway, Mood::Refuses]);
    let run = world.ask(&agent, "pivot", "x", None).await.unwrap().run;
    assert_eq!(
        (run.status, steps(&run)),
        (Status::Running, vec!["done", "done", "registered"])
    );
    let late = world.desk.cancel(&agent, &run.id).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Conflict);
    world.rest().await;
    assert_eq!(
        (world.run(&run.id).await.status, nets(&world.mart, "x")),
        (Status::Done, [1, 1, 1])
    );
    // What does not is parked after some tries.
    world.mart.will(&[
        Mood::Fine,
        Mood::Fine,
        Mood::Refuses,
        Mood::Refuses,
        Mood::Refuses,
        Mood::Refuses,
    ]);
    let run = world.ask(&agent, "pivot", "y", None).await.unwrap().run;
    world.rest().await;
    let parked = world.run(&run.id).await;
    assert_eq!(
        (parked.status, parked.parked_for),
        (Status::Parked, Some(Parked::Pivot)),
        "{parked:?}"
    );
    let done = world.desk.retry(&ann, &run.id).await.unwrap();
    assert_eq!((done.status, nets(&world.mart, "y")), (Status::Done, [1, 1, 1]));
    // Or a person lets the rest be taken back.
    world.mart.will(&[
        Mood::Fine,
        Mood::Fine,
        Mood::Refuses,
        Mood::Refuses,
        Mood::Refuses,
        Mood::Refuses,
    ]);
    let run = world.ask(&agent, "pivot", "z", None).await.unwrap().run;
    world.rest().await;
    let given_up = Settled {
        reason: "the customer was told on the phone".to_owned(),
        happened: None,
        remote_id: None,
    };
    let run = world.desk.settle(&ann, &run.id, &given_up).await.unwrap();
    assert_eq!(
        (run.status, steps(&run)),
        (Status::Compensated, vec!["undone", "kept", "failed"])
    );
    assert_eq!(nets(&world.mart, "z"), [0, 1, 0]);
    assert_eq!(run.steps[2].settled_by.as_deref(), Some("ann"));
}

#[tokio::test]
async fn what_a_caller_may_not_call_is_refused_before_the_first_step() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    let rules = json!([{ "name": "never", "action": "remove", "class": "forbidden" }]);
    *world.known.rules.lock().unwrap() = serde_json::from_value(rules).unwrap();
    let refused = world.ask(&agent, "three", "x", None).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied);
    assert!(refused.message().contains("'remove'"), "{refused}");
    assert!(world.desk.permitted(&agent, "test").await.unwrap().is_empty());
    assert_eq!(world.desk.offers(&agent).await.unwrap().len(), 3);
    assert!(world.mart.effects().is_empty());
    let analyst = world.person("eve", Kind::User, Role::Analyst).await;
    let error = world.ask(&analyst, "three", "x", None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    // Nor does anybody but who approves or audits see the runs of others.
    *world.known.rules.lock().unwrap() = Vec::new();
    let run = world.ask(&agent, "three", "x", None).await.unwrap().run;
    let filter = RunFilter {
        limit: 10,
        ..RunFilter::default()
    };
    assert!(list(&world.store, &analyst, &filter).await.unwrap().is_empty());
    get(&world.store, &analyst, &run.id).await.unwrap_err();
    assert_eq!(list(&world.store, &agent, &filter).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_was_said_is_erased_with_the_calls() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    let done = world.ask(&agent, "three", "x", Some("k")).await.unwrap().run;
    world.mart.will(&[Mood::Fine, Mood::Fine, Mood::LosesRequest]);
    let open = world.ask(&agent, "three", "y", None).await.unwrap().run;
    for table in ["calls", "bundle_runs"] {
        let sql = format!("UPDATE {table} SET finished_at_ms = 0 WHERE finished_at_ms IS NOT NULL");
        crate::store::testing::execute(&world.store, &sql).await;
    }
    calls::erase(&world.store, calls::KEPT_MIN).await.unwrap();
    let erased = world.run(&done.id).await;
    assert!(erased.input.is_empty() && erased.output.is_none() && erased.idempotency_key.is_none());
    assert!(erased.erased_at_ms.is_some());
    // The outputs of a run that goes on are wanted still.
    let kept = world.run(&open.id).await;
    assert!(!kept.input.is_empty());
    assert!(kept.kept.calls.values().all(|call| call.erased_at_ms.is_none()));
}
