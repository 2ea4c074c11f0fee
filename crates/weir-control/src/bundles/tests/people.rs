use weir_protocol::ErrorKind;

use super::*;

#[tokio::test]
async fn a_run_waits_for_an_approval_and_goes_on_after_it() {
    let world = World::of(json!("none")).await;
    let (agent, ann) = (world.agent().await, world.approver().await);
    let run = world.ask(&agent, "asked", "x", None).await.unwrap().run;
    assert_eq!(run.status, Status::Running);
    let call = run.waits_for.clone().unwrap();
    assert_eq!(Some(&call), run.steps[2].call.as_ref());
    // Nothing is due while people decide.
    world.later().await;
    assert_eq!(world.desk.work().await.unwrap(), 0);
    world.decide(&ann, &call, Verdict::Approve).await;
    world.rest().await;
    let run = world.run(&run.id).await;
    assert_eq!((run.status, nets(&world.mart, "x")), (Status::Done, [1, 1, 1]));
}

#[tokio::test]
async fn a_rejection_takes_back_what_is_done() {
    let world = World::of(json!("none")).await;
    let (agent, ann) = (world.agent().await, world.approver().await);
    let run = world.ask(&agent, "asked", "x", None).await.unwrap().run;
    world.decide(&ann, &run.waits_for.unwrap(), Verdict::Reject).await;
    world.rest().await;
    let run = world.run(&run.id).await;
    assert_eq!(
        (run.status, nets(&world.mart, "x")),
        (Status::Compensated, [0, 0, 0])
    );
    assert!(run.error.unwrap().message.contains("rejected"));
}

#[tokio::test]
async fn a_cancelled_run_takes_its_waiting_call_and_what_is_done_back() {
    let world = World::of(json!("none")).await;
    let (agent, ann) = (world.agent().await, world.approver().await);
    let run = world.ask(&agent, "asked", "x", None).await.unwrap().run;
    let call = run.waits_for.clone().unwrap();
    let stranger = world.person("bea", Kind::Agent, Role::Agent).await;
    assert_eq!(
        world.desk.cancel(&stranger, &run.id).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    let run = world.desk.cancel(&agent, &run.id).await.unwrap();
    assert_eq!(
        (run.status, nets(&world.mart, "x")),
        (Status::Compensated, [0, 0, 0]),
        "{run:?}"
    );
    assert_eq!(run.error.as_ref().unwrap().kind, "cancelled");
    assert_eq!(run.cancelled_by.as_deref(), Some("bot"));
    let approval = approvals::get(&world.store, &ann, &call).await.unwrap();
    assert_eq!(approval.status, approvals::Status::Void);
    // Again is the same, and what is over stays so.
    assert_eq!(
        world.desk.cancel(&agent, &run.id).await.unwrap().status,
        Status::Compensated
    );
    let done = world.ask(&agent, "three", "y", None).await.unwrap().run;
    assert_eq!(
        world.desk.cancel(&agent, &done.id).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
}

#[tokio::test]
async fn a_compensation_that_fails_again_and_again_is_parked_retried_or_settled() {
    let world = World::of(json!("none")).await;
    let (agent, ann) = (world.agent().await, world.approver().await);
    let failing: Vec<Mood> = [Mood::Fine, Mood::Fine, Mood::Fine, Mood::Refuses]
        .into_iter()
        .chain([Mood::IsAway; 4])
        .collect();
    world.mart.will(&failing);
    let run = world.ask(&agent, "three", "x", None).await.unwrap().run;
    // There is a pause between two tries.
    assert_eq!(
        (run.status, run.steps[2].compensation_attempt),
        (Status::Compensating, 1)
    );
    world.rest().await;
    let parked = world.run(&run.id).await;
    assert_eq!(
        (parked.status, parked.parked_for),
        (Status::Parked, Some(Parked::Compensation)),
        "{parked:?}"
    );
    assert_eq!(parked.parked_step.as_deref(), Some("b"));
    // Why it turned back is not forgotten.
    assert!(parked.error.as_ref().unwrap().message.contains("step 'c'"));
    assert_eq!(nets(&world.mart, "x"), [1, 1, 0]);
    assert_eq!(
        world.desk.retry(&agent, &run.id).await.unwrap_err().kind(),
        ErrorKind::Denied
    );
    let done = world.desk.retry(&ann, &run.id).await.unwrap();
    assert_eq!(
        (done.status, nets(&world.mart, "x")),
        (Status::Compensated, [0, 0, 0])
    );
    assert_eq!(done.parked_error, None);
    assert_eq!(
        world.desk.retry(&ann, &run.id).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );

    world.mart.will(&failing);
    let run = world.ask(&agent, "three", "y", None).await.unwrap().run;
    world.rest().await;
    let by_hand = |reason: &str, happened| Settled {
        reason: reason.to_owned(),
        happened,
        remote_id: None,
    };
    for wrong in [by_hand(" ", None), by_hand("removed by hand", Some(true))] {
        let error = world.desk.settle(&ann, &run.id, &wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
    }
    let run = world
        .desk
        .settle(&ann, &run.id, &by_hand("removed by hand", None))
        .await
        .unwrap();
    assert_eq!(
        (run.status, steps(&run)),
        (Status::Compensated, vec!["done", "undone", "settled", "failed"])
    );
    assert_eq!(nets(&world.mart, "y"), [0, 1, 0]);
    assert_eq!(run.steps[2].settled_reason.as_deref(), Some("removed by hand"));
    assert!(world.noted(&run.id).await.contains(&"bundle.settle".to_owned()));
}

#[tokio::test]
async fn who_may_no_longer_takes_nothing_back_but_who_retries_does() {
    let world = World::of(json!("none")).await;
    let (agent, ann) = (world.agent().await, world.approver().await);
    let run = world.ask(&agent, "asked", "x", None).await.unwrap().run;
    let token = agent.token.clone().unwrap();
    principals::revoke(&world.store, DEFAULT_TENANT, &token)
        .await
        .unwrap();
    world
        .decide(&ann, &run.waits_for.clone().unwrap(), Verdict::Reject)
        .await;
    world.rest().await;
    let parked = world.run(&run.id).await;
    assert_eq!(
        (parked.status, parked.parked_for),
        (Status::Parked, Some(Parked::Compensation)),
        "{parked:?}"
    );
    assert_eq!(nets(&world.mart, "x"), [1, 0, 0]);
    // An approver calls no actions.
    assert_eq!(
        world.desk.retry(&ann, &run.id).await.unwrap().status,
        Status::Parked
    );
    let admin = world.person("zoe", Kind::User, Role::Admin).await;
    let run = world.desk.retry(&admin, &run.id).await.unwrap();
    assert_eq!(
        (run.status, nets(&world.mart, "x")),
        (Status::Compensated, [0, 0, 0]),
        "{run:?}"
    );
}

#[tokio::test]
async fn two_processes_do_not_both_advance_one_run() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    let ask::Put::New(run) = world
        .desk
        .begin(&agent, &wanted("three", "x"), None, "test")
        .await
        .unwrap()
    else {
        panic!()
    };
    // The first process sleeps, its lease ends, a second one takes the run, and both go on at once.
    crate::store::testing::execute(&world.store, "UPDATE bundle_runs SET lease_until_ms = 0").await;
    let (first, second) = tokio::join!(world.desk.go(&run.id, 1), world.desk.drive(&run.id));
    first.unwrap();
    second.unwrap();
    world.rest().await;
    let run = world.run(&run.id).await;
    assert_eq!(
        (run.status, nets(&world.mart, "x")),
        (Status::Done, [1, 1, 1]),
        "{run:?}"
    );
    assert_eq!(run.kept.calls.len(), 4);
}

#[tokio::test]
async fn a_server_that_stops_lets_its_runs_go() {
    let world = World::of(json!("none")).await;
    let agent = world.agent().await;
    let mut desk = world.desk.clone();
    desk.stop = tokio_util::sync::CancellationToken::new();
    desk.stop.cancel();
    let run = desk
        .ask(&agent, &wanted("three", "x"), None, "test")
        .await
        .unwrap()
        .run;
    assert_eq!((run.status, run.kept.is_held), (Status::Running, false));
    world.rest().await;
    assert_eq!(world.run(&run.id).await.status, Status::Done);
}
