//! Consents: how they begin and end, and what is given up with them.

use super::*;

#[tokio::test]
async fn a_second_consent_without_a_refresh_token_keeps_the_good_one() {
    let rig = Rig::new(provider()).await;
    let again = |number: usize| Granted {
        access_token: Secret::new(format!("again-{number}")),
        refresh_token: None,
        expires_in: Some(Duration::from_secs(3600)),
        refresh_expires_in: None,
        scopes: None,
    };
    let client = rig.provider.client.clone();
    let grant = rig.grants.connect(&client, "crm", &again(1)).await.unwrap();
    assert!(grant.can_refresh);
    assert_eq!(rig.access().await.unwrap(), "again-1");
    rig.pass(3600).await;
    assert_eq!(rig.access().await.unwrap(), "access-1");
    // Of another client it is worth nothing.
    let other = OauthClient {
        client_id: "other".to_owned(),
        ..client.clone()
    };
    let grant = rig.grants.connect(&other, "crm", &again(2)).await.unwrap();
    assert!(!grant.can_refresh);
    // One that the provider takes no more is not kept.
    rig.grants
        .connect(&client, "crm", &rig.provider.first())
        .await
        .unwrap();
    rig.pass(3600).await;
    rig.provider.answers(Ok(refused()));
    rig.access().await.unwrap_err();
    assert_eq!(rig.state().await, GrantState::ReconnectNeeded);
    let grant = rig.grants.connect(&client, "crm", &again(3)).await.unwrap();
    assert!(!grant.can_refresh);
}

#[tokio::test]
async fn tokens_are_shown_to_nobody_but_who_gave_them() {
    let rig = Rig::new(provider()).await;
    let mut other = provider();
    other.client.token_url = "https://evil.example.com/token".to_owned();
    let other = Arc::new(other);
    let server: Arc<dyn AuthorizationServer> = other.clone();
    let error = rig.grants.access("crm", &server, None).await.unwrap_err();
    assert!(error.message().contains("another client or provider"), "{error}");
    let refused = Secret::new("access-0");
    rig.grants
        .access("crm", &server, Some(&refused))
        .await
        .unwrap_err();
    assert_eq!(other.asked(), 0);
    let error = rig.grants.access("erp", &rig.server, None).await.unwrap_err();
    assert!(error.next_step().unwrap().contains("weir auth login erp"));
}

#[tokio::test]
async fn a_grant_is_given_up_at_the_provider_too() {
    let rig = Rig::new(provider()).await;
    let done = rig
        .grants
        .disconnect("crm", Some(rig.server.as_ref()))
        .await
        .unwrap();
    done.at_provider.unwrap().unwrap();
    assert_eq!(*rig.provider.revoked.lock().unwrap(), ["refresh-0"]);
    assert_eq!(rig.state().await, GrantState::Revoked);
    assert!(!secrets::any(&rig.grants.store, "default").await.unwrap());
    rig.access().await.unwrap_err();
    assert_eq!(rig.provider.asked(), 0);
    rig.grants.disconnect("erp", None).await.unwrap_err();
    // Where the provider does not answer, nothing is kept either.
    let granted = rig.provider.first();
    rig.grants
        .connect(&rig.provider.client, "crm", &granted)
        .await
        .unwrap();
    *rig.provider.revokes.lock().unwrap() = Some(down());
    let done = rig
        .grants
        .disconnect("crm", Some(rig.server.as_ref()))
        .await
        .unwrap();
    done.at_provider.unwrap().unwrap_err();
    assert!(!secrets::any(&rig.grants.store, "default").await.unwrap());
    let audit = rig.audit().await;
    assert!(audit.last().unwrap().contains("not confirmed"), "{audit:#?}");
}

#[tokio::test]
async fn scopes_that_are_not_granted_are_named() {
    let rig = Rig::new(provider()).await;
    assert!(
        get(&rig.grants.store, "default", "crm")
            .await
            .unwrap()
            .missing_scopes
            .is_empty()
    );
    *rig.provider.scopes.lock().unwrap() = Some(vec!["read".to_owned()]);
    rig.instead_of("access-0").await.unwrap();
    let shown = get(&rig.grants.store, "default", "crm").await.unwrap();
    assert_eq!(
        (shown.scopes, shown.missing_scopes),
        (vec!["read".to_owned()], vec!["write".to_owned()])
    );
    rig.instead_of("access-1").await.unwrap();
    let audit = rig.audit().await;
    let told: Vec<_> = audit
        .iter()
        .filter(|line| line.starts_with("oauth.scopes_shrank"))
        .collect();
    assert_eq!(
        told,
        ["oauth.scopes_shrank connection:crm {\"missing\":\"write\"}"]
    );
}

/// The answer that a consent's address asks for.
fn answer(started: &Started) -> Callback {
    let url = url::Url::parse(&started.authorize_url).unwrap();
    let state = url.query_pairs().find(|(name, _)| name == "state").unwrap().1;
    Callback::parse(&format!("http://h/?code=c0de&state={state}")).unwrap()
}

#[tokio::test]
async fn a_consent_is_ended_once_by_who_began_it() {
    let rig = Rig::unconnected(provider()).await;
    let client = &rig.provider.client;
    let begin = |begun_with: &'static str| {
        rig.grants.begin_login(
            client,
            "crm",
            ("ali", begun_with),
            "https://weir.example.com/oauth/callback",
        )
    };
    let started = begin("session-1").await.unwrap();
    let back = answer(&started);
    let pending = pending(&rig.grants.store, &back).await.unwrap();
    assert_eq!(
        (pending.connection.as_str(), pending.principal.as_str()),
        ("crm", "ali")
    );
    let finish = |who: (&'static str, &'static str), back: Callback| {
        let (grants, server) = (rig.grants.clone(), rig.server.clone());
        async move { grants.finish_login(server.as_ref(), who, &back).await }
    };
    for wrong in [("eve", "session-1"), ("ali", "session-2")] {
        assert_eq!(
            finish(wrong, back.clone()).await.unwrap_err().kind(),
            ErrorKind::Denied
        );
    }
    let other = Callback::parse("http://h/?code=c0de&state=guessed").unwrap();
    finish(("ali", "session-1"), other).await.unwrap_err();
    assert_eq!(rig.provider.asked(), 0);
    let grant = finish(("ali", "session-1"), back.clone()).await.unwrap();
    assert_eq!(grant.state, GrantState::Connected);
    finish(("ali", "session-1"), back).await.unwrap_err();
    assert_eq!(rig.provider.asked(), 1);
    // One that nobody ended in time is over, and its verifier goes with the next.
    let late = answer(&begin("session-1").await.unwrap());
    testing::execute(&rig.grants.store, "UPDATE logins SET expires_at_ms = 1").await;
    finish(("ali", "session-1"), late).await.unwrap_err();
    begin("session-1").await.unwrap();
    let left: i64 = rig
        .grants
        .store
        .read(Scope::Tenant("default"), "count", |db, _| {
            Box::pin(async move {
                let count = sqlx::query_scalar("SELECT count(*) FROM secrets WHERE name LIKE 'login/%'");
                Ok(count.fetch_one(db).await?)
            })
        })
        .await
        .unwrap();
    assert_eq!(left, 1);
}

/// The provider exchanged the refresh token that the consent kept: whoever stores only one of both has none.
#[tokio::test]
async fn a_consent_while_tokens_are_refreshed_loses_neither() {
    let rig = Rig::new(provider()).await;
    rig.pass(3600).await;
    rig.provider.gate.forget_permits(1000);
    let refreshing = {
        let (grants, server) = (rig.grants.clone(), rig.server.clone());
        tokio::spawn(async move { grants.access("crm", &server, None).await })
    };
    rig.provider.arrived.acquire().await.unwrap().forget();
    let consented = Granted {
        access_token: Secret::new("consented"),
        refresh_token: None,
        expires_in: Some(Duration::from_secs(3600)),
        refresh_expires_in: None,
        scopes: None,
    };
    let before = consents(&rig.grants.store, "default", "crm").await.unwrap();
    let client = rig.provider.client.clone();
    rig.grants.connect(&client, "crm", &consented).await.unwrap();
    rig.provider.gate.add_permits(1000);
    refreshing.await.unwrap().unwrap();
    assert_eq!(rig.access().await.unwrap(), "consented", "the newer one stays");
    rig.pass(3600).await;
    assert_eq!(
        rig.access().await.unwrap(),
        "access-2",
        "the rotated one is there"
    );
    assert_eq!(rig.state().await, GrantState::Connected);
    // Each consent may be another account's; a refresh is not.
    let after = consents(&rig.grants.store, "default", "crm").await.unwrap();
    assert_eq!((before, after), (Some(1), Some(2)));
}
