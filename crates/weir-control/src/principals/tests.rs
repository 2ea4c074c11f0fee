use std::collections::BTreeSet;
use std::time::Duration;

use weir_protocol::ErrorKind;

use super::*;
use crate::store::testing;
use crate::{DEFAULT_TENANT, Store, tenants};

struct World {
    _folder: tempfile::TempDir,
    store: Store,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = testing::store(folder.path()).await;
        Self {
            _folder: folder,
            store,
        }
    }

    async fn issue(&self, tenant: &str, principal: &str, role: Role) -> Issued {
        create(
            &self.store,
            &Access::command_line(tenant),
            &asked(principal, role),
        )
        .await
        .unwrap()
    }
}

fn asked(principal: &str, role: Role) -> NewToken {
    NewToken {
        principal: principal.to_owned(),
        kind: Kind::Token,
        roles: BTreeSet::from([role]),
        scopes: BTreeSet::new(),
        groups: [].into(),
        expires_in: EXPIRY_DEFAULT,
    }
}

#[tokio::test]
async fn a_token_says_who_acts_and_its_secret_is_not_in_the_store() {
    let world = World::new().await;
    tenants::create(&world.store, "north").await.unwrap();
    let issued = world.issue("north", "loader", Role::Operator).await;
    let access = authenticate(&world.store, issued.text.expose()).await.unwrap();
    assert_eq!(
        (access.tenant.as_str(), access.principal.as_str()),
        ("north", "loader")
    );
    assert_eq!(access.permissions, Role::Operator.permissions());
    assert_eq!(access.token.as_deref(), Some(issued.token.id.as_str()));

    let secret = issued.text.expose().rsplit('_').next().unwrap().to_owned();
    let (_, hash, _) = world
        .store
        .read(crate::Scope::Everyone, "look", |db, _| {
            let id = &issued.token.id;
            Box::pin(async move { Ok(sql::by_id(db, id).await?) })
        })
        .await
        .unwrap()
        .unwrap();
    assert!(!hash.contains(&secret) && hash.len() == 64);
    assert!(!format!("{issued:?}").contains(&secret));
}

#[tokio::test]
async fn a_wrong_revoked_or_expired_token_is_nobodys() {
    let world = World::new().await;
    let issued = world.issue(DEFAULT_TENANT, "loader", Role::Admin).await;
    let text = issued.text.expose();
    let other = world.issue(DEFAULT_TENANT, "other", Role::Admin).await;
    let (head, _) = text.rsplit_once('_').unwrap();
    let foreign_secret = format!("{head}_{}", other.text.expose().rsplit('_').next().unwrap());
    let cut = text.get(..text.len() - 1).unwrap();
    for wrong in ["", "weir_", "weir_x_y", cut, &foreign_secret, &format!("{text}0")] {
        let error = authenticate(&world.store, wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Auth, "{wrong}");
        assert!(
            error.next_step().is_some() && !error.to_string().contains("weir_"),
            "{error}"
        );
    }
    let revoked = revoke(&world.store, DEFAULT_TENANT, &issued.token.id)
        .await
        .unwrap();
    assert_eq!(revoked.status, TokenStatus::Revoked);
    let again = revoke(&world.store, DEFAULT_TENANT, &issued.token.id)
        .await
        .unwrap();
    assert_eq!(again.revoked_at_ms, revoked.revoked_at_ms);
    let error = authenticate(&world.store, text).await.unwrap_err();
    assert!(error.message().contains("revoked"));

    testing::execute(&world.store, "UPDATE tokens SET expires_at_ms = 1").await;
    let error = authenticate(&world.store, other.text.expose()).await.unwrap_err();
    assert!(error.message().contains("expired"), "{error}");
}

#[tokio::test]
async fn another_tenants_tokens_are_neither_seen_nor_revoked() {
    let world = World::new().await;
    tenants::create(&world.store, "north").await.unwrap();
    let issued = world.issue("north", "loader", Role::Admin).await;
    assert!(list(&world.store, DEFAULT_TENANT).await.unwrap().is_empty());
    assert!(review(&world.store, DEFAULT_TENANT).await.unwrap().is_empty());
    let error = revoke(&world.store, DEFAULT_TENANT, &issued.token.id)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    authenticate(&world.store, issued.text.expose()).await.unwrap();
    let error = create(
        &world.store,
        &Access::command_line("south"),
        &asked("loader", Role::Admin),
    )
    .await
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn nobody_hands_out_more_than_they_have() {
    let world = World::new().await;
    let issued = world.issue(DEFAULT_TENANT, "boss", Role::Operator).await;
    let mut access = authenticate(&world.store, issued.text.expose()).await.unwrap();
    let error = create(&world.store, &access, &asked("x", Role::Admin))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("tokens:write"), "{error}");
    access.permissions.insert(Permission::TokensWrite);
    create(&world.store, &access, &asked("x", Role::Operator))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let world = World::new().await;
    let access = Access::command_line(DEFAULT_TENANT);
    let good = asked("loader", Role::Analyst);
    create(&world.store, &access, &good).await.unwrap();
    for (wrong, kind) in [
        (asked("Loader!", Role::Analyst), ErrorKind::Usage),
        (
            NewToken {
                roles: BTreeSet::new(),
                ..good.clone()
            },
            ErrorKind::Usage,
        ),
        (
            NewToken {
                expires_in: Duration::ZERO,
                ..good.clone()
            },
            ErrorKind::Usage,
        ),
        (
            NewToken {
                expires_in: EXPIRY_MAX + Duration::from_secs(1),
                ..good.clone()
            },
            ErrorKind::Usage,
        ),
        (
            NewToken {
                groups: ["a\nb".to_owned()].into(),
                ..good.clone()
            },
            ErrorKind::Usage,
        ),
        (
            NewToken {
                kind: Kind::System,
                ..good.clone()
            },
            ErrorKind::Usage,
        ),
        (
            NewToken {
                kind: Kind::Agent,
                ..good.clone()
            },
            ErrorKind::Conflict,
        ),
    ] {
        let error = create(&world.store, &access, &wrong).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{wrong:?}");
        assert!(error.next_step().is_some());
    }
}

#[tokio::test]
async fn the_first_token_is_made_once() {
    let world = World::new().await;
    let made = futures::future::join_all((0..4).map(|_| bootstrap(&world.store))).await;
    let made: Vec<Issued> = made.into_iter().filter_map(|made| made.unwrap()).collect();
    assert_eq!(made.len(), 1);
    let access = authenticate(&world.store, made[0].text.expose()).await.unwrap();
    assert_eq!(access.permissions.len(), Permission::ALL.len());
    // Also where it was revoked since: whoever did that has other ways.
    revoke(&world.store, DEFAULT_TENANT, &made[0].token.id)
        .await
        .unwrap();
    assert!(bootstrap(&world.store).await.unwrap().is_none());
}

#[tokio::test]
async fn its_use_is_noted_at_most_once_a_minute() {
    let world = World::new().await;
    let issued = world.issue(DEFAULT_TENANT, "loader", Role::Agent).await;
    assert_eq!(issued.token.last_used_at_ms, None);
    let used = async || {
        authenticate(&world.store, issued.text.expose()).await.unwrap();
        get(&world.store, DEFAULT_TENANT, &issued.token.id)
            .await
            .unwrap()
            .last_used_at_ms
            .unwrap()
    };
    let first = used().await;
    assert_eq!(used().await, first);
    testing::execute(
        &world.store,
        "UPDATE tokens SET last_used_at_ms = last_used_at_ms - 61000",
    )
    .await;
    assert!(used().await >= first);
}

#[tokio::test]
async fn a_review_shows_who_can_do_what_and_what_has_ended() {
    let world = World::new().await;
    let kept = world.issue(DEFAULT_TENANT, "loader", Role::Analyst).await;
    let ended = world.issue(DEFAULT_TENANT, "loader", Role::Admin).await;
    revoke(&world.store, DEFAULT_TENANT, &ended.token.id)
        .await
        .unwrap();
    let review = review(&world.store, DEFAULT_TENANT).await.unwrap();
    let of = |id: &str| {
        let found = review
            .iter()
            .find(|grant| grant.token.as_ref().is_some_and(|token| token.id == id));
        found.unwrap().permissions.clone()
    };
    assert_eq!(of(&kept.token.id), Role::Analyst.permissions());
    assert!(of(&ended.token.id).is_empty());
}

/// Every role with every permission: a change of either is seen here.
#[test]
fn roles_may_do_what_the_table_says() {
    let mut table = String::new();
    for permission in Permission::ALL {
        let marks = Role::ALL.map(|role| {
            let access = Access {
                permissions: role.permissions(),
                ..Access::command_line(DEFAULT_TENANT)
            };
            match may(&access, permission) {
                Ok(()) => "yes",
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Denied);
                    assert!(error.next_step().unwrap().contains(permission.as_str()));
                    "-"
                }
            }
        });
        let [admin, operator, approver, analyst, agent, worker] = marks;
        table += &format!(
            "{permission:<18} {admin:<5} {operator:<8} {approver:<8} {analyst:<7} {agent:<5} {worker}\n"
        );
    }
    insta::assert_snapshot!(table);
}

#[tokio::test]
async fn what_is_done_to_tenants_principals_and_tokens_is_in_the_audit_trail() {
    let world = World::new().await;
    tenants::create(&world.store, "north").await.unwrap();
    let issued = world.issue("north", "alice@example.com", Role::Operator).await;
    world.issue("north", "alice@example.com", Role::Agent).await;
    let caller = Access {
        token: Some(issued.token.id.clone()),
        ..Access::command_line("north")
    };
    let acting = world.store.acting_as(caller.acting(Some("request-1")));
    revoke(&acting, "north", &issued.token.id).await.unwrap();
    revoke(&acting, "north", &issued.token.id).await.unwrap();

    let filter = crate::audit::EntryFilter {
        limit: 50,
        ..Default::default()
    };
    let mut noted = crate::audit::list(&world.store, "north", &filter).await.unwrap();
    noted.reverse();
    let actions: Vec<&str> = noted.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(
        actions,
        [
            "tenant.create",
            "principal.create",
            "token.create",
            "token.create",
            "token.revoke"
        ]
    );
    // Who it is for can be erased; what was handed out stays.
    assert!(noted[2].details.contains("operator") && !noted[2].details.contains("alice"));
    assert!(noted[2].personal.as_ref().unwrap().contains("alice@example.com"));
    let revoked = &noted[4];
    assert_eq!(
        (revoked.principal.as_str(), revoked.correlation_id.as_deref()),
        (format!("token:{}", issued.token.id).as_str(), Some("request-1"))
    );
    assert_eq!(revoked.subject, format!("token:{}", issued.token.id));
}

#[tokio::test]
async fn the_first_token_is_noted_too() {
    let world = World::new().await;
    bootstrap(&world.store).await.unwrap().unwrap();
    let filter = crate::audit::EntryFilter {
        limit: 50,
        action: Some("token.create".to_owned()),
        ..Default::default()
    };
    assert_eq!(
        crate::audit::list(&world.store, DEFAULT_TENANT, &filter)
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_token_that_is_not_as_expected_is_not_revoked() {
    let world = World::new().await;
    let issued = world.issue(DEFAULT_TENANT, "loader", Role::Agent).await;
    let refuse = |_: &Token| Err(Error::usage("changed").hint("look"));
    revoke_if(&world.store, DEFAULT_TENANT, &issued.token.id, &refuse)
        .await
        .unwrap_err();
    let token = get(&world.store, DEFAULT_TENANT, &issued.token.id).await.unwrap();
    assert_eq!(token.status, TokenStatus::Active);
}

#[tokio::test]
async fn only_an_admin_puts_others_into_groups() {
    let world = World::new().await;
    let grouped = |groups: &[&str]| NewToken {
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..asked("ann", Role::Approver)
    };
    let issued = create(
        &world.store,
        &Access::command_line(DEFAULT_TENANT),
        &grouped(&["finance"]),
    )
    .await
    .unwrap();
    let access = authenticate(&world.store, issued.text.expose()).await.unwrap();
    assert_eq!(access.groups, BTreeSet::from(["finance".to_owned()]));
    assert_eq!(issued.token.groups, access.groups);
    // Who may make tokens gives away the groups that they are in.
    let maker = Access {
        permissions: Permission::ALL.into_iter().collect(),
        roles: BTreeSet::new(),
        ..access
    };
    create(&world.store, &maker, &grouped(&["finance"]))
        .await
        .unwrap();
    let error = create(&world.store, &maker, &grouped(&["board"]))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("board"), "{error}");
}

#[tokio::test]
async fn an_agent_makes_agents_tokens_alone() {
    let world = World::new().await;
    for (own, wanted, may) in [
        (Kind::Agent, Kind::User, false),
        (Kind::Agent, Kind::Token, false),
        (Kind::Agent, Kind::Agent, true),
        (Kind::User, Kind::User, true),
    ] {
        let access = Access {
            kind: own,
            ..Access::command_line(DEFAULT_TENANT)
        };
        let new = NewToken {
            kind: wanted,
            ..asked(&format!("{own}-makes-{wanted}"), Role::Operator)
        };
        let made = create(&world.store, &access, &new).await;
        assert_eq!(made.is_ok(), may, "{own} {wanted}");
        if let Err(error) = made {
            assert_eq!(error.kind(), ErrorKind::Denied);
        }
    }
}
