use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use serde_json::json;
use weir_protocol::oidc::{Identity, Shown};

use super::*;
use crate::principals::{self, NewToken, Permission};
use crate::store::testing;

#[derive(Debug, Default)]
struct Provider {
    groups: Mutex<Vec<&'static str>>,
}

const AUDIENCE: &str = "https://weir.example.com/mcp";

#[async_trait]
impl IdentityProvider for Provider {
    fn issuer(&self) -> &str {
        "https://id.example.com"
    }

    /// `scopes.subject.signature`
    async fn read_access_token(&self, token: &Secret, audience: &str) -> Result<Shown> {
        assert_eq!(audience, AUDIENCE);
        let mut parts = token.expose().split('.');
        let scopes = parts.next().unwrap().split('+').map(ToOwned::to_owned);
        let subject = Secret::new(parts.next().unwrap());
        let proof = LoginProof {
            state: Secret::new(""),
            nonce: Secret::new(""),
            verifier: Secret::new(""),
        };
        Ok(Shown {
            is_program: subject.expose() == "bot",
            identity: self.identify(&subject, None, "", &proof).await?,
            scopes: scopes.collect(),
            ends_at_s: 0,
        })
    }

    async fn authorize_url(&self, redirect_uri: &str, proof: &LoginProof) -> Result<String> {
        Ok(format!("{redirect_uri}?state={}", proof.state.expose()))
    }

    async fn identify(&self, code: &Secret, _: Option<&str>, _: &str, _: &LoginProof) -> Result<Identity> {
        let groups = self.groups.lock().unwrap().clone();
        let claims = json!({ "groups": groups, "teams": groups });
        Ok(Identity {
            issuer: "https://id.example.com".to_owned(),
            subject: code.expose().to_owned(),
            claims: claims.as_object().unwrap().clone(),
        })
    }

    async fn logout_url(&self, back_to: &str) -> Result<Option<String>> {
        Ok(Some(back_to.to_owned()))
    }
}

struct Rig {
    store: Store,
    desk: LoginDesk,
    provider: Arc<Provider>,
    _folder: tempfile::TempDir,
}

async fn rig(groups: Vec<&'static str>) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let provider = Arc::new(Provider {
        groups: Mutex::new(groups),
    });
    let rules = LoginRules {
        role_claim: "groups".to_owned(),
        roles: BTreeMap::from([
            ("ops".to_owned(), Role::Operator),
            ("boss".to_owned(), Role::Admin),
        ]),
        group_claim: "teams".to_owned(),
        principal_claim: None,
    };
    let desk = LoginDesk::new(
        &store,
        "default",
        provider.clone(),
        rules,
        "https://weir.example.com/",
    )
    .taking_access_tokens(AUDIENCE);
    Rig {
        store,
        desk,
        provider,
        _folder: folder,
    }
}

fn answer(begun: &BegunLogin, code: &str) -> Callback {
    let state = begun.authorize_url.split_once("state=").unwrap().1;
    Callback::parse(&format!("https://h/?code={code}&state={state}")).unwrap()
}

impl Rig {
    async fn login(&self, who: &str) -> Result<Session> {
        let begun = self.desk.begin().await?;
        self.desk.finish(&answer(&begun, who), begun.kept.expose()).await
    }

    async fn pass(&self, hours: i64) {
        let ms = hours * 3_600_000;
        let sql = format!(
            "UPDATE sessions SET last_used_at_ms = last_used_at_ms - {ms}, expires_at_ms = expires_at_ms - {ms}"
        );
        testing::execute(&self.store, &sql).await;
    }
}

impl Rig {
    async fn shows(&self, token: &str) -> Result<Access> {
        self.desk.authenticate(&Secret::new(token)).await
    }

    async fn logins(&self) -> usize {
        let filter = audit::EntryFilter {
            action: Some("session.login".to_owned()),
            limit: 10,
            ..audit::EntryFilter::default()
        };
        audit::list(&self.store, "default", &filter).await.unwrap().len()
    }
}

#[tokio::test]
async fn an_access_token_gives_what_roles_and_scopes_both_give_and_decides_nothing() {
    let rig = rig(vec!["ops"]).await;
    let token = "runs:read+tokens:write+openid.ali.sig";
    let access = rig.shows(token).await.unwrap();
    assert_eq!((access.principal.as_str(), access.kind), ("ali", Kind::Agent));
    assert_eq!(access.permissions, BTreeSet::from([Permission::RunsRead]));
    assert!(access.withheld().contains(&Permission::RunsWrite));
    assert!(!access.withheld().contains(&Permission::TokensWrite));
    assert_eq!(access.groups, BTreeSet::from(["ops".to_owned()]));
    assert_eq!(rig.shows(token).await.unwrap(), access);
    assert_eq!(rig.logins().await, 1);
    let name = access.token.clone().unwrap();
    assert_eq!(holder(&rig.store, "default", &name).await.unwrap(), access);
    holder(&rig.store, "north", &name).await.unwrap_err();
    // Its session is nothing that a browser could show.
    let id = name.strip_prefix(PREFIX).unwrap();
    authenticate(&rig.store, &format!("{id}.")).await.unwrap_err();
    // What it asked for may wait longer than it is good, and no longer than a person's could.
    rig.pass(11).await;
    holder(&rig.store, "default", &name).await.unwrap();
    rig.pass(1).await;
    holder(&rig.store, "default", &name).await.unwrap_err();
}

#[tokio::test]
async fn an_access_token_that_was_revoked_or_narrowed_stays_so() {
    let rig = rig(vec!["ops", "boss"]).await;
    let token = "runs:read+tokens:read.ali.sig";
    let access = rig.shows(token).await.unwrap();
    assert_eq!(access.permissions.len(), 2);
    rig.provider.groups.lock().unwrap().pop();
    rig.login("ali").await.unwrap();
    assert_eq!(
        rig.shows(token).await.unwrap().permissions,
        BTreeSet::from([Permission::RunsRead])
    );
    let name = access.token.unwrap();
    let id = name.strip_prefix(PREFIX).unwrap();
    revoke(&rig.store, "default", id, &|_| Ok(())).await.unwrap();
    // Nor with another signature of the same.
    for again in [token, "runs:read+tokens:read.ali.other"] {
        assert_eq!(rig.shows(again).await.unwrap_err().kind(), ErrorKind::Auth);
    }
    holder(&rig.store, "default", &name).await.unwrap_err();
    assert_eq!(
        get(&rig.store, "default", id).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert!(
        list(&rig.store, "default")
            .await
            .unwrap()
            .iter()
            .all(|open| open.id != id)
    );
    rig.shows("runs:read.ali.sig").await.unwrap();
}

#[tokio::test]
async fn an_access_token_without_a_role_is_refused_and_noted_once() {
    let rig = rig(vec!["guests"]).await;
    for _ in 0..2 {
        let error = rig.shows("runs:read.eve.sig").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.message().contains("'eve' has no role"), "{error}");
    }
    assert_eq!(rig.logins().await, 1);
}

#[tokio::test]
async fn a_program_of_the_provider_is_no_person() {
    let rig = rig(vec!["ops"]).await;
    rig.shows("runs:read.bot.sig").await.unwrap();
    assert_eq!(rig.login("bot").await.unwrap_err().kind(), ErrorKind::Conflict);
    rig.login("ali").await.unwrap();
    rig.shows("runs:read.ali.sig").await.unwrap();
}

#[tokio::test]
async fn a_session_acts_with_its_roles_until_it_ends() {
    let rig = rig(vec!["ops"]).await;
    let session = rig.login("ali").await.unwrap();
    let cookie = session.cookie.expose();
    let access = authenticate(&rig.store, cookie).await.unwrap();
    assert_eq!(access, session.access);
    assert!(access.permissions.contains(&Permission::RunsWrite));
    assert!(!access.permissions.contains(&Permission::TokensWrite));
    let (id, _) = cookie.split_once('.').unwrap();
    for wrong in [
        "",
        "x",
        id,
        &format!("{id}."),
        &format!("{id}.{}", "A".repeat(43)),
        &format!("{cookie}A"),
    ] {
        assert_eq!(
            authenticate(&rig.store, wrong).await.unwrap_err().kind(),
            ErrorKind::Auth
        );
    }
    end(&rig.store, &access).await.unwrap();
    end(&rig.store, &access).await.unwrap();
    authenticate(&rig.store, cookie).await.unwrap_err();
}

#[tokio::test]
async fn a_review_of_access_has_the_sessions_that_are_open() {
    let rig = rig(vec!["ops"]).await;
    let of_sessions = async || -> Vec<principals::Grant> {
        let lines = principals::review(&rig.store, "default").await.unwrap();
        lines.into_iter().filter(|line| line.session.is_some()).collect()
    };
    assert!(of_sessions().await.is_empty());
    let session = rig.login("ali").await.unwrap();
    rig.login("ali").await.unwrap();
    let lines = of_sessions().await;
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0].principal, session.access.principal);
    assert_eq!(lines[0].permissions, session.access.permissions);
    assert_ne!(lines[0].key(), lines[1].key());
    end(&rig.store, &session.access).await.unwrap();
    assert_eq!(of_sessions().await.len(), 1);
    rig.pass(13).await;
    assert!(of_sessions().await.is_empty());
}

#[tokio::test]
async fn a_session_ends_where_it_is_not_used_and_at_last_at_any_rate() {
    let rig = rig(vec!["ops"]).await;
    let session = rig.login("ali").await.unwrap();
    for _ in 0..11 {
        rig.pass(1).await;
        // Using it keeps it.
        authenticate(&rig.store, session.cookie.expose()).await.unwrap();
    }
    rig.pass(1).await;
    authenticate(&rig.store, session.cookie.expose())
        .await
        .unwrap_err();
    let idle = rig.login("ali").await.unwrap();
    rig.pass(2).await;
    authenticate(&rig.store, idle.cookie.expose()).await.unwrap_err();
}

#[tokio::test]
async fn an_answer_counts_in_the_browser_that_asked() {
    let rig = rig(vec!["ops"]).await;
    let (one, other) = (rig.desk.begin().await.unwrap(), rig.desk.begin().await.unwrap());
    assert!(
        one.authorize_url
            .starts_with("https://weir.example.com/login/callback?")
    );
    for kept in [other.kept.expose(), "", "..", "a.b.c"] {
        let error = rig.desk.finish(&answer(&one, "ali"), kept).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
    }
    let refused = Callback::parse(&format!(
        "https://h/?error=access_denied&state={}",
        one.authorize_url.split_once("state=").unwrap().1
    ))
    .unwrap();
    rig.desk.finish(&refused, one.kept.expose()).await.unwrap_err();
    rig.desk
        .finish(&answer(&one, "ali"), one.kept.expose())
        .await
        .unwrap();
}

#[tokio::test]
async fn who_has_no_role_gets_none_and_is_told_what_to_do() {
    let rig = rig(vec!["guests"]).await;
    let error = rig.login("eve").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.next_step().unwrap().contains("'groups'"), "{error:?}");
    let filter = audit::EntryFilter {
        limit: 10,
        ..Default::default()
    };
    let noted = audit::list(&rig.store, "default", &filter).await.unwrap();
    assert_eq!(
        (noted[0].action.as_str(), noted[0].outcome.as_str()),
        ("session.login", "refused")
    );
}

#[tokio::test]
async fn nobody_logs_in_as_a_program() {
    let rig = rig(vec!["ops"]).await;
    let new = NewToken {
        principal: "robot".to_owned(),
        kind: Kind::Agent,
        roles: BTreeSet::from([Role::Agent]),
        scopes: BTreeSet::new(),
        groups: [].into(),
        expires_in: Duration::from_secs(60),
    };
    principals::create(&rig.store, &Access::command_line("default"), &new)
        .await
        .unwrap();
    assert_eq!(rig.login("robot").await.unwrap_err().kind(), ErrorKind::Conflict);
}

async fn noted(rig: &Rig, action: &str) -> usize {
    let filter = audit::EntryFilter {
        action: Some(action.to_owned()),
        limit: 100,
        ..Default::default()
    };
    audit::list(&rig.store, "default", &filter).await.unwrap().len()
}

#[tokio::test]
async fn an_admin_sees_sessions_and_ends_them() {
    let rig = rig(vec!["ops", "finance"]).await;
    let session = rig.login("ali").await.unwrap();
    rig.login("eve").await.unwrap();
    let open = list(&rig.store, "default").await.unwrap();
    assert_eq!(open.len(), 2);
    assert!(list(&rig.store, "other").await.unwrap().is_empty());
    let own = open.iter().find(|open| open.principal == "ali").unwrap();
    assert_eq!(
        own.groups,
        BTreeSet::from(["finance".to_owned(), "ops".to_owned()])
    );
    assert!(
        !serde_json::to_string(own)
            .unwrap()
            .contains(session.cookie.expose())
    );
    revoke(&rig.store, "other", &own.id, &|_| Ok(()))
        .await
        .unwrap_err();
    authenticate(&rig.store, session.cookie.expose()).await.unwrap();
    let ended = revoke(&rig.store, "default", &own.id, &|_| Ok(())).await.unwrap();
    assert_eq!(ended.principal, "ali");
    let error = authenticate(&rig.store, session.cookie.expose())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth);
    let error = revoke(&rig.store, "default", &own.id, &|_| Ok(()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(noted(&rig, "session.revoke").await, 1);
    assert_eq!(list(&rig.store, "default").await.unwrap().len(), 1);
    rig.pass(3).await;
    assert!(list(&rig.store, "default").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_role_that_went_is_taken_from_sessions_that_are_open() {
    let rig = rig(vec!["ops", "boss"]).await;
    let first = rig.login("ali").await.unwrap();
    let roles = async |session: &Session| {
        let access = authenticate(&rig.store, session.cookie.expose()).await;
        access.map(|access| {
            (
                access.roles,
                access.permissions.contains(&Permission::TokensWrite),
            )
        })
    };
    assert!(roles(&first).await.unwrap().1);
    // The provider says less at the next login: it holds for the session before, too.
    *rig.provider.groups.lock().unwrap() = vec!["ops"];
    let second = rig.login("ali").await.unwrap();
    let operator = (BTreeSet::from([Role::Operator]), false);
    assert_eq!(roles(&first).await.unwrap(), operator);
    // And not more than it had.
    *rig.provider.groups.lock().unwrap() = vec!["ops", "boss"];
    let third = rig.login("ali").await.unwrap();
    assert_eq!(roles(&second).await.unwrap(), operator);
    let other = rig.login("eve").await.unwrap();
    // A server that begins with other rules.
    let with = |words: &[(&str, Role)]| LoginDesk {
        rules: LoginRules {
            roles: words
                .iter()
                .map(|(word, role)| ((*word).to_owned(), *role))
                .collect(),
            ..rig.desk.rules.clone()
        },
        ..rig.desk.clone()
    };
    assert_eq!(rig.desk.narrow().await.unwrap(), 0);
    let fewer = with(&[("ops", Role::Operator), ("boss", Role::Operator)]);
    assert_eq!(fewer.narrow().await.unwrap(), 2);
    assert_eq!(roles(&third).await.unwrap(), operator);
    assert_eq!(roles(&other).await.unwrap(), operator);
    let none = with(&[("guests", Role::Analyst)]);
    assert_eq!(none.narrow().await.unwrap(), 4);
    for session in [first, second, third, other] {
        roles(&session).await.unwrap_err();
    }
    assert_eq!(noted(&rig, "session.narrow").await, 3);
    assert_eq!(noted(&rig, "session.revoke").await, 4);
}
