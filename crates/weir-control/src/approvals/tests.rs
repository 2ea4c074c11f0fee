//! Who may approve what, how often, and until when.

use serde_json::json;
use weir_protocol::ErrorKind;

use super::*;
use crate::calls::tests::{Vendor, World, pairs, spec};
use crate::principals::{self, Kind, Role};
use crate::store::testing::execute;

async fn world() -> World {
    let mut required = spec(json!("none"));
    required.approval = None;
    World::with(required).await
}

fn says(verdict: Verdict) -> Decision {
    Decision {
        verdict,
        reason: None,
        break_glass: false,
        digest: None,
    }
}

fn approve() -> Decision {
    says(Verdict::Approve)
}

fn emergency() -> Decision {
    Decision {
        reason: Some("the shop is down".to_owned()),
        break_glass: true,
        ..approve()
    }
}

async fn refused(world: &World, access: &Access, id: &str, decision: &Decision) -> ErrorKind {
    let error = world.desk.decide(access, id, decision).await.unwrap_err();
    assert!(error.next_step().is_some(), "{error}");
    error.kind()
}

#[tokio::test]
async fn a_call_waits_until_somebody_else_approves_it_and_is_then_made_once() {
    let world = world().await;
    let agent = world.agent().await;
    let ann = world.person("ann", Kind::User, Role::Approver).await;
    let call = world.ask(&agent, 5, Some("k1")).await.unwrap().call;
    assert_eq!(call.status, calls::Status::Waiting);
    assert!(world.ask(&agent, 5, Some("k1")).await.unwrap().is_replay);
    world.desk.work().await.unwrap();
    assert!(world.vendor.effects().is_empty());
    let shown = get(&world.store, &ann, &call.id).await.unwrap();
    assert_eq!((shown.status, shown.needed), (Status::Pending, 1));
    assert_eq!(shown.request.body, Some(json!({ "amount": 5 })));
    // Nobody approves without the right to, nor does a program.
    assert_eq!(
        refused(&world, &agent, &call.id, &approve()).await,
        ErrorKind::Denied
    );
    let bold = world.person("bold", Kind::Agent, Role::Approver).await;
    assert_eq!(
        refused(&world, &bold, &call.id, &approve()).await,
        ErrorKind::Denied
    );
    let other = Decision {
        digest: Some("0".repeat(64)),
        ..approve()
    };
    assert_eq!(refused(&world, &ann, &call.id, &other).await, ErrorKind::Conflict);
    let seen = Decision {
        digest: Some(call.digest.clone()),
        ..approve()
    };
    let approved = world.desk.decide(&ann, &call.id, &seen).await.unwrap();
    assert_eq!(
        (approved.status, approved.call.status),
        (Status::Approved, calls::Status::Ready)
    );
    world.desk.work().await.unwrap();
    world.desk.work().await.unwrap();
    let done = world.ask(&agent, 5, Some("k1")).await.unwrap().call;
    assert_eq!(done.status, calls::Status::Done);
    assert_eq!(
        get(&world.store, &agent, &call.id).await.unwrap().status,
        Status::Used
    );
    assert_eq!(
        refused(&world, &ann, &call.id, &approve()).await,
        ErrorKind::Conflict
    );
    assert_eq!(world.vendor.effects().len(), 1);
    assert_eq!(
        world.noted().await,
        pairs(&[
            ("call.ask", "done"),
            ("approval.refuse", "refused"),
            ("approval.approve", "done"),
            ("call.begin", "done"),
            ("call.end", "done"),
        ])
    );
    let told = world.told().await;
    assert_eq!(
        (
            told["approval.requested"],
            told["approval.decided"],
            told["call.ended"]
        ),
        (1, 1, 1)
    );
}

#[tokio::test]
async fn nobody_approves_their_own_call_nor_that_of_their_agent() {
    let world = world().await;
    let admin = world.person("root", Kind::User, Role::Admin).await;
    let own = world.ask(&admin, 5, None).await.unwrap().call;
    assert_eq!(
        refused(&world, &admin, &own.id, &approve()).await,
        ErrorKind::Denied
    );
    let bot = world.person_of(&admin, "bot", Kind::Agent, Role::Agent).await;
    let of_bot = world.ask(&bot, 5, None).await.unwrap().call;
    assert_eq!(
        refused(&world, &admin, &of_bot.id, &approve()).await,
        ErrorKind::Denied
    );
    // Nor with another name that they gave themselves, however many hands it goes through.
    let puppet = world.person_of(&admin, "puppet", Kind::User, Role::Admin).await;
    let second = world
        .person_of(&puppet, "second", Kind::User, Role::Approver)
        .await;
    for made in [&puppet, &second] {
        assert_eq!(
            refused(&world, made, &own.id, &approve()).await,
            ErrorKind::Denied
        );
    }
    let of_puppet = world.ask(&second, 5, None).await;
    assert_eq!(of_puppet.unwrap_err().kind(), ErrorKind::Denied, "no agent");
    let of_puppet = world.ask(&puppet, 5, None).await.unwrap().call;
    assert_eq!(
        refused(&world, &admin, &of_puppet.id, &approve()).await,
        ErrorKind::Denied
    );
    // Taking one's own call back is no harm.
    let taken = world
        .desk
        .decide(&admin, &own.id, &says(Verdict::Reject))
        .await
        .unwrap();
    assert_eq!(taken.status, Status::Rejected);
    assert_eq!(taken.call.status, calls::Status::Refused);
}

#[tokio::test]
async fn a_rejection_ends_it() {
    let world = world().await;
    let agent = world.agent().await;
    let ann = world.person("ann", Kind::User, Role::Approver).await;
    let call = world.ask(&agent, 5, Some("k1")).await.unwrap().call;
    let no = Decision {
        reason: Some("too much".to_owned()),
        ..says(Verdict::Reject)
    };
    world.desk.decide(&ann, &call.id, &no).await.unwrap();
    world.desk.work().await.unwrap();
    let ended = world.ask(&agent, 5, Some("k1")).await.unwrap().call;
    assert_eq!(ended.status, calls::Status::Refused);
    assert!(ended.error.unwrap().message.contains("too much"));
    assert!(world.vendor.effects().is_empty());
}

#[tokio::test]
async fn several_different_people_of_the_right_group_are_needed() {
    let world = world().await;
    world.rule(
        json!([{ "name": "two", "class": "required", "needed": 2, "deciders": ["group:finance", "bea"] }]),
    );
    let agent = world.agent().await;
    let finance = |mut access: Access| {
        access.groups = ["finance".to_owned()].into();
        access
    };
    let ann = finance(world.person("ann", Kind::User, Role::Approver).await);
    let bea = world.person("bea", Kind::User, Role::Approver).await;
    let eve = world.person("eve", Kind::User, Role::Approver).await;
    let call = world.ask(&agent, 5, None).await.unwrap().call;
    assert_eq!(
        refused(&world, &eve, &call.id, &approve()).await,
        ErrorKind::Denied
    );
    for _ in 0..2 {
        let one = world.desk.decide(&ann, &call.id, &approve()).await.unwrap();
        assert_eq!((one.status, one.votes.len()), (Status::Pending, 1));
    }
    assert_eq!(
        refused(&world, &ann, &call.id, &says(Verdict::Reject)).await,
        ErrorKind::Conflict
    );
    world.desk.work().await.unwrap();
    assert!(world.vendor.effects().is_empty());
    let two = world.desk.decide(&bea, &call.id, &approve()).await.unwrap();
    assert_eq!((two.status, two.votes.len()), (Status::Approved, 2));
    world.desk.work().await.unwrap();
    assert_eq!(world.vendor.effects().len(), 1);
}

#[tokio::test]
async fn what_nobody_decides_in_time_is_rejected() {
    let world = world().await;
    let agent = world.agent().await;
    let ann = world.person("ann", Kind::User, Role::Approver).await;
    let by_look = world.ask(&agent, 5, None).await.unwrap().call;
    let by_vote = world.ask(&agent, 6, None).await.unwrap().call;
    let approved = world.ask(&agent, 7, None).await.unwrap().call;
    world.desk.decide(&ann, &approved.id, &approve()).await.unwrap();
    execute(&world.store, "UPDATE approvals SET expires_at_ms = 1").await;
    assert_eq!(
        refused(&world, &ann, &by_vote.id, &approve()).await,
        ErrorKind::Conflict
    );
    world.desk.work().await.unwrap();
    for id in [&by_look.id, &by_vote.id, &approved.id] {
        let found = get(&world.store, &ann, id).await.unwrap();
        assert_eq!(
            (found.status, found.call.status),
            (Status::Expired, calls::Status::Refused)
        );
    }
    assert!(world.vendor.effects().is_empty());
}

#[tokio::test]
async fn whatever_an_approval_is_bound_to_voids_it_by_its_change() {
    async fn voided(world: &World, change: impl AsyncFnOnce(&World, &Access)) {
        let agent = world.agent().await;
        let ann = world.person("ann", Kind::User, Role::Approver).await;
        let call = world.ask(&agent, 5, None).await.unwrap().call;
        world.desk.decide(&ann, &call.id, &approve()).await.unwrap();
        change(world, &agent).await;
        world.desk.work().await.unwrap();
        let found = get(&world.store, &ann, &call.id).await.unwrap();
        assert_eq!(
            (found.status, found.call.status),
            (Status::Void, calls::Status::Refused)
        );
        assert!(found.call.error.unwrap().hint.is_some());
        assert!(world.vendor.effects().is_empty());
    }
    voided(&world().await, async |world: &World, _: &Access| {
        world.rule(json!([{ "name": "new", "class": "required" }]));
    })
    .await;
    voided(&world().await, async |world: &World, _: &Access| {
        let mut newer = Vendor::new(world.vendor.specs[0].clone());
        newer.version = "1.0.1".to_owned();
        *world.known.vendor.lock().unwrap() = newer.into();
    })
    .await;
    voided(&world().await, async |world: &World, _: &Access| {
        let mut elsewhere = Vendor::new(world.vendor.specs[0].clone());
        elsewhere.fingerprint = "elsewhere".to_owned();
        *world.known.vendor.lock().unwrap() = elsewhere.into();
    })
    .await;
    voided(&world().await, async |world: &World, _: &Access| {
        let mut other = world.vendor.specs[0].clone();
        other.request.path = "/elsewhere".to_owned();
        *world.known.vendor.lock().unwrap() = Vendor::new(other).into();
    })
    .await;
    voided(&world().await, async |world: &World, agent: &Access| {
        let token = agent.token.clone().unwrap();
        principals::revoke(&world.store, &agent.tenant, &token)
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_changed_input_in_the_store_is_not_what_was_approved() {
    let world = world().await;
    let agent = world.agent().await;
    let ann = world.person("ann", Kind::User, Role::Approver).await;
    let call = world.ask(&agent, 5, None).await.unwrap().call;
    world.desk.decide(&ann, &call.id, &approve()).await.unwrap();
    execute(&world.store, "UPDATE calls SET input = '{\"amount\":500}'").await;
    world.desk.work().await.unwrap();
    assert_eq!(
        get(&world.store, &ann, &call.id).await.unwrap().status,
        Status::Void
    );
    assert!(world.vendor.effects().is_empty());
}

#[tokio::test]
async fn the_glass_is_broken_with_a_reason_and_looked_at_by_somebody_else() {
    let world = world().await;
    let admin = world.person("root", Kind::User, Role::Admin).await;
    let ann = world.person("ann", Kind::User, Role::Approver).await;
    let call = world.ask(&admin, 5, None).await.unwrap().call;
    let silent = Decision {
        reason: None,
        ..emergency()
    };
    assert_eq!(refused(&world, &admin, &call.id, &silent).await, ErrorKind::Usage);
    let broken = world.desk.decide(&admin, &call.id, &emergency()).await.unwrap();
    assert_eq!(broken.glass_broken_by.as_deref(), Some("root"));
    world.desk.work().await.unwrap();
    assert_eq!(world.vendor.effects().len(), 1);
    let filter = ApprovalFilter {
        to_review: true,
        limit: 10,
        ..ApprovalFilter::default()
    };
    assert_eq!(list(&world.store, &ann, &filter).await.unwrap().len(), 1);
    let error = review(&world.store, &admin, &call.id, "fine").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let reviewed = review(&world.store, &ann, &call.id, "it was right")
        .await
        .unwrap();
    assert_eq!(reviewed.reviewed_by.as_deref(), Some("ann"));
    assert!(list(&world.store, &ann, &filter).await.unwrap().is_empty());
    let error = review(&world.store, &ann, &call.id, "again").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    world.rule(json!([{ "name": "glass", "class": "required", "break_glass": false }]));
    let firm = world.ask(&admin, 6, None).await.unwrap().call;
    assert_eq!(
        refused(&world, &admin, &firm.id, &emergency()).await,
        ErrorKind::Denied
    );
}

#[tokio::test]
async fn a_rule_by_group_is_decided_by_who_is_in_it() {
    let world = world().await;
    let agent = world.agent().await;
    let maker = Access::command_line(crate::DEFAULT_TENANT);
    let member = async |name: &str, groups: &[&str]| {
        let new = principals::NewToken {
            principal: name.to_owned(),
            kind: Kind::User,
            roles: [Role::Approver].into(),
            scopes: [].into(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            expires_in: principals::EXPIRY_DEFAULT,
        };
        let issued = principals::create(&world.store, &maker, &new).await.unwrap();
        principals::authenticate(&world.store, issued.text.expose())
            .await
            .unwrap()
    };
    // Who is of that name is not of the group, nor the other way round.
    let named = member("finance", &[]).await;
    let grouped = member("bea", &["sales", "finance"]).await;
    let other = member("ann", &["sales"]).await;
    for (deciders, wrong, right) in [
        (json!(["group:finance"]), &named, &grouped),
        (json!(["finance"]), &grouped, &named),
    ] {
        world.rule(json!([{ "name": "money", "class": "required", "deciders": deciders }]));
        let call = world.ask(&agent, 5, None).await.unwrap().call;
        for who in [wrong, &other] {
            assert_eq!(
                refused(&world, who, &call.id, &approve()).await,
                ErrorKind::Denied
            );
        }
        world.desk.decide(right, &call.id, &approve()).await.unwrap();
        world.desk.work().await.unwrap();
        assert_eq!(world.call(&call.id).await.status, calls::Status::Done);
    }
}
