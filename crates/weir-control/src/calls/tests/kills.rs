//! A process dies at each moment of a call; another one goes on.

use super::*;
use crate::approvals::{Decision, Verdict};
use crate::deaths::killed_after;

/// Every call is over, and says the truth about its effect.
async fn is_true(world: &World, what: &str) {
    for _ in 0..10 {
        world.later().await;
        world.desk.work().await.unwrap();
    }
    let access = Access::command_line(DEFAULT_TENANT);
    let filter = CallFilter {
        limit: 500,
        ..CallFilter::default()
    };
    let effects = world.vendor.effects();
    let calls = list(&world.store, &access, &filter).await.unwrap();
    for call in &calls {
        let key = format!("weir-{}", call.id);
        let happened = effects.iter().filter(|effect| **effect == key).count();
        assert!(happened <= 1, "{what}: {happened} effects of one call");
        match call.status {
            Status::Done => assert_eq!(happened, 1, "{what}: {call:?}"),
            Status::Failed | Status::Refused | Status::Waiting => assert_eq!(happened, 0, "{what}: {call:?}"),
            Status::Uncertain => assert!(call.error.is_some(), "{what}"),
            Status::Ready | Status::Running => panic!("{what}: nobody went on with {call:?}"),
        }
    }
    let known: Vec<String> = calls.iter().map(|call| format!("weir-{}", call.id)).collect();
    assert!(
        effects.iter().all(|effect| known.contains(effect)),
        "{what}: an effect of no call"
    );
}

#[tokio::test]
async fn no_call_has_a_second_effect_whenever_its_process_dies() {
    for (name, idempotency) in [
        ("none", json!("none")),
        ("lookup", lookup()),
        ("key", json!({ "header": "Idempotency-Key" })),
    ] {
        for mood in [Mood::Fine, Mood::LosesAnswers, Mood::LosesRequests] {
            let world = World::of(idempotency.clone()).await;
            let agent = world.agent().await;
            world.vendor.feels(mood);
            let mut polls = 0;
            loop {
                polls += 1;
                let key = format!("k{polls}");
                let doomed = world.doomed();
                let wanted = pay(5);
                let asked = doomed.ask(&agent, &wanted, Some(&key), "test");
                let ended = Box::pin(killed_after(polls, asked)).await;
                is_true(&world, &format!("{name} {mood:?} killed after {polls}")).await;
                // The caller asks again under the same key, whatever became of the first.
                let again = world.ask(&agent, 5, Some(&key)).await.unwrap().call;
                assert!(again.status.is_over(), "{again:?}");
                is_true(&world, &format!("{name} {mood:?} asked again after {polls}")).await;
                if ended.is_some() {
                    break;
                }
            }
            // How often a future is polled depends on how fast the database answers.
            assert!(polls > 2, "{polls}");
        }
    }
}

#[tokio::test]
async fn an_approved_call_is_made_once_whenever_its_process_dies() {
    for idempotency in [json!("none"), lookup()] {
        let mut required = spec(idempotency);
        required.approval = Some(Approval::Required);
        let world = World::with(required).await;
        let agent = world.agent().await;
        let approver = world.person("ann", Kind::User, Role::Approver).await;
        let mut polls = 0;
        loop {
            polls += 1;
            let call = world.ask(&agent, polls, None).await.unwrap().call;
            let doomed = world.doomed();
            let decision = Decision {
                verdict: Verdict::Approve,
                reason: None,
                break_glass: false,
                digest: Some(call.digest.clone()),
            };
            let decided = async {
                doomed.decide(&approver, &call.id, &decision).await.unwrap();
                doomed.work().await.unwrap();
            };
            let ended = killed_after(u32::try_from(polls).unwrap(), decided).await;
            is_true(&world, &format!("killed after {polls}")).await;
            let now = world.call(&call.id).await;
            if now.status == Status::Waiting {
                world.desk.decide(&approver, &call.id, &decision).await.unwrap();
                is_true(&world, "approved again").await;
                assert_eq!(world.call(&call.id).await.status, Status::Done);
            }
            if ended.is_some() {
                break;
            }
        }
        assert!(polls > 2, "{polls}");
    }
}
