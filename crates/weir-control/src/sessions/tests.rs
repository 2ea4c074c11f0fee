use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use serde_json::json;
use weir_protocol::oidc::Identity;

use super::*;
use crate::principals::{self, NewToken, Permission};
use crate::store::testing;

#[derive(Debug, Default)]
struct Provider {
    groups: Mutex<Vec<&'static str>>,
}

#[async_trait]
impl IdentityProvider for Provider {
    async fn authorize_url(&self, redirect_uri: &str, proof: &LoginProof) -> Result<String> {
        Ok(format!("{redirect_uri}?state={}", proof.state.expose()))
    }

    async fn identify(&self, code: &Secret, _: Option<&str>, _: &str, _: &LoginProof) -> Result<Identity> {
        let claims = json!({ "groups": *self.groups.lock().unwrap() });
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
        roles: BTreeMap::from([("ops".to_owned(), Role::Operator)]),
        principal_claim: None,
    };
    let desk = LoginDesk::new(&store, "default", provider, rules, "https://weir.example.com/");
    Rig {
        store,
        desk,
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
        expires_in: Duration::from_secs(60),
    };
    principals::create(&rig.store, &Access::command_line("default"), &new)
        .await
        .unwrap();
    assert_eq!(rig.login("robot").await.unwrap_err().kind(), ErrorKind::Conflict);
}
