//! When a token is replaced, and by whom.

use super::*;

#[tokio::test]
async fn a_token_is_used_until_shortly_before_its_end_and_then_replaced_once() {
    let rig = Rig::new(provider()).await;
    assert_eq!(rig.access().await.unwrap(), "access-0");
    rig.pass(3500).await;
    assert_eq!(rig.access().await.unwrap(), "access-0");
    assert_eq!(rig.provider.asked(), 0);
    rig.pass(50).await;
    assert_eq!(rig.access().await.unwrap(), "access-1");
    assert_eq!(rig.access().await.unwrap(), "access-1");
    // The rotated one is what is used next.
    rig.pass(4000).await;
    assert_eq!(rig.access().await.unwrap(), "access-2");
    assert_eq!(rig.provider.asked(), 2);
    let audit = rig.audit().await;
    assert_eq!(
        audit
            .iter()
            .filter(|line| line.starts_with("oauth.refresh"))
            .count(),
        2,
        "{audit:#?}"
    );
    assert_eq!(
        audit
            .iter()
            .filter(|line| line.starts_with("oauth.access"))
            .count(),
        5
    );
    for planted in ["access-", "refresh-"] {
        assert!(!audit.iter().any(|line| line.contains(planted)), "{audit:#?}");
    }
    // No reference reaches a token, and no list shows it.
    assert!(
        secrets::list(&rig.grants.store, "default")
            .await
            .unwrap()
            .is_empty()
    );
    assert!(secrets::any(&rig.grants.store, "default").await.unwrap());
    rig.grants.secrets.read("oauth/crm").await.unwrap_err();
    secrets::delete(&rig.grants.store, "default", "oauth/crm")
        .await
        .unwrap_err();
    // It follows the master key as all secrets do.
    let next = MasterKeys {
        current: MasterKey::parse(&MasterKey::generate().unwrap()).unwrap(),
        old: Some(MasterKey::parse(&MasterKey::generate().unwrap()).unwrap()),
    };
    let error = secrets::rotate_master_key(&rig.grants.store, &next)
        .await
        .unwrap_err();
    assert!(format!("{error}").contains("master key"), "{error}");
}

#[tokio::test]
async fn servers_that_need_a_token_at_once_ask_for_one() {
    let rig = Rig::new(provider()).await;
    rig.pass(3600).await;
    let others = [
        server(rig.folder.path(), &rig.keys).await,
        server(rig.folder.path(), &rig.keys).await,
    ];
    let all = (0..24).map(|n| {
        let grants = [&rig.grants, &others[0], &others[1]][n % 3].clone();
        let server = rig.server.clone();
        tokio::spawn(async move { grants.access("crm", &server, None).await })
    });
    for token in futures::future::join_all(all).await {
        assert_eq!(token.unwrap().unwrap().token.expose(), "access-1");
    }
    assert_eq!(rig.provider.asked(), 1);
}

#[tokio::test]
async fn a_server_waits_for_the_turn_of_another_one() {
    // As another process: its turn is in the store alone.
    let rig = Rig::new(provider()).await;
    rig.pass(3600).await;
    testing::execute(
        &rig.grants.store,
        "UPDATE grants SET term = term + 1, holder = 'other', held_until_ms = (SELECT now_ms FROM clock) + 60000",
    )
    .await;
    assert_eq!(rig.state().await, GrantState::Refreshing);
    let waiting = {
        let (grants, server) = (rig.grants.clone(), rig.server.clone());
        tokio::spawn(async move { grants.access("crm", &server, None).await })
    };
    tokio::task::yield_now().await;
    assert_eq!(rig.provider.asked(), 0);
    // The other one died: its turn is over.
    rig.pass(61).await;
    assert_eq!(waiting.await.unwrap().unwrap().token.expose(), "access-1");
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_for_all_who_had_it() {
    let rig = Rig::new(provider()).await;
    assert_eq!(rig.instead_of("access-0").await.unwrap(), "access-1");
    assert_eq!(rig.instead_of("access-0").await.unwrap(), "access-1");
    assert_eq!(rig.provider.asked(), 1);
    assert_eq!(rig.instead_of("access-1").await.unwrap(), "access-2");
}

#[tokio::test]
async fn a_void_grant_waits_for_a_person_and_nobody_asks_again() {
    let rig = Rig::new(provider()).await;
    rig.pass(3600).await;
    rig.provider.answers(Ok(refused()));
    let error = rig.access().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth);
    assert!(error.next_step().unwrap().contains("weir auth login crm"));
    assert_eq!(rig.state().await, GrantState::ReconnectNeeded);
    rig.access().await.unwrap_err();
    assert_eq!(rig.provider.asked(), 1);
    let shown = get(&rig.grants.store, "default", "crm").await.unwrap();
    assert!(shown.error.unwrap().contains("invalid_grant"));
    assert!(
        rig.audit()
            .await
            .iter()
            .any(|line| line.starts_with("oauth.reconnect_needed"))
    );
    // A person consents again.
    let granted = rig.provider.first();
    rig.grants
        .connect(&rig.provider.client, "crm", &granted)
        .await
        .unwrap();
    assert_eq!(rig.state().await, GrantState::Connected);
    assert_eq!(rig.access().await.unwrap(), "access-0");
}

#[tokio::test]
async fn a_provider_that_fails_takes_nothing_away_and_is_not_asked_by_everybody() {
    let rig = Rig::new(provider()).await;
    rig.pass(3550).await;
    rig.provider.answers(Err(down()));
    // Replacing early leaves time in which a failure to do so is no harm.
    assert_eq!(rig.access().await.unwrap(), "access-0");
    assert_eq!(rig.access().await.unwrap(), "access-0");
    assert_eq!(rig.provider.asked(), 1);
    rig.pass(50).await;
    rig.provider.answers(Err(down()));
    assert_eq!(rig.access().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(rig.access().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(rig.provider.asked(), 2);
    assert_eq!(rig.state().await, GrantState::Connected);
    rig.pass(10).await;
    assert_eq!(rig.access().await.unwrap(), "access-3");
}

#[tokio::test]
async fn a_provider_that_neither_rotates_nor_tells_life_times_is_borne() {
    let rig = Rig::new(Provider {
        rotates: false,
        life: None,
        ..provider()
    })
    .await;
    assert_eq!(rig.access().await.unwrap(), "access-0");
    rig.pass(10 * 86_400).await;
    assert_eq!(rig.access().await.unwrap(), "access-0");
    for n in 1..4 {
        let next = rig.instead_of(&format!("access-{}", n - 1)).await.unwrap();
        assert_eq!(next, format!("access-{n}"));
    }
}

#[tokio::test]
async fn an_answer_that_comes_late_never_replaces_newer_tokens() {
    let rig = Rig::new(provider()).await;
    rig.pass(3600).await;
    // The first asker gets its answer, and stands still before it stores it.
    rig.provider.gate.forget_permits(1000);
    let slow = {
        let (grants, server) = (rig.grants.clone(), rig.server.clone());
        tokio::spawn(async move { grants.access("crm", &server, None).await })
    };
    rig.provider.arrived.acquire().await.unwrap().forget();
    // Its turn ends; a person consents anew meanwhile.
    rig.pass(61).await;
    let granted = Granted {
        access_token: Secret::new("new-access"),
        ..rig.provider.first()
    };
    rig.grants
        .connect(&rig.provider.client, "crm", &granted)
        .await
        .unwrap();
    rig.provider.gate.add_permits(1000);
    assert_eq!(slow.await.unwrap().unwrap().token.expose(), "new-access");
    assert_eq!(rig.access().await.unwrap(), "new-access");
}

#[tokio::test]
async fn a_late_answer_saves_a_grant_that_another_server_took_for_void() {
    let rig = Rig::new(provider()).await;
    rig.pass(3600).await;
    rig.provider.gate.forget_permits(1000);
    let slow = {
        let (grants, server) = (rig.grants.clone(), rig.server.clone());
        tokio::spawn(async move { grants.access("crm", &server, None).await })
    };
    rig.provider.arrived.acquire().await.unwrap().forget();
    // Another server believes the first one dead, and shows the refresh token that it used up.
    testing::execute(
        &rig.grants.store,
        "UPDATE grants SET term = term + 1, state = 'reconnect_needed', holder = NULL, held_until_ms = NULL",
    )
    .await;
    rig.provider.gate.add_permits(1000);
    assert_eq!(slow.await.unwrap().unwrap().token.expose(), "access-1");
    assert_eq!(rig.state().await, GrantState::Connected);
    rig.pass(3600).await;
    assert_eq!(rig.access().await.unwrap(), "access-2");
}

#[test]
fn a_runtime_that_ends_loses_no_tokens() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
    };
    let main = runtime();
    let rig = main.block_on(Rig::new(provider()));
    main.block_on(rig.pass(3600));
    rig.provider.gate.forget_permits(1000);
    let (folder, keys) = (rig.folder.path().to_owned(), rig.keys.clone());
    let (provider, as_server) = (rig.provider.clone(), rig.server.clone());
    // A command that is given up while the provider is asked.
    let command = std::thread::spawn(move || {
        runtime().block_on(async {
            let grants = server(&folder, &keys).await;
            let asking = grants.access("crm", &as_server, None);
            tokio::select! {
                _ = asking => panic!("the gate is closed"),
                arrived = provider.arrived.acquire() => arrived.unwrap().forget(),
            }
            provider.opens_once_somebody_waits();
            settled().await;
        });
    });
    command.join().unwrap();
    assert_eq!(main.block_on(rig.access()).unwrap(), "access-1");
    assert_eq!(rig.provider.asked(), 1);
}

#[tokio::test]
async fn a_caller_that_goes_away_loses_no_tokens() {
    let rig = Rig::new(provider()).await;
    rig.pass(3600).await;
    rig.provider.gate.forget_permits(1000);
    let cancelled = {
        let (grants, server) = (rig.grants.clone(), rig.server.clone());
        tokio::spawn(async move { grants.access("crm", &server, None).await })
    };
    rig.provider.arrived.acquire().await.unwrap().forget();
    cancelled.abort();
    assert!(cancelled.await.unwrap_err().is_cancelled());
    rig.provider.gate.add_permits(1000);
    assert_eq!(rig.access().await.unwrap(), "access-1");
    assert_eq!(rig.provider.asked(), 1);
}

#[tokio::test]
async fn a_refresh_token_of_the_connections_file_begins_a_grant_until_it_is_another() {
    let mut first = provider();
    first.client.seed = Some(Secret::new("refresh-0"));
    let rig = Rig::unconnected(first).await;
    assert_eq!(rig.access().await.unwrap(), "access-1");
    // The rotated one counts, not the file's.
    rig.pass(3600).await;
    assert_eq!(rig.access().await.unwrap(), "access-2");
    // Somebody put another one into the file.
    let mut other = provider();
    other.client.seed = Some(Secret::new("other"));
    *other.current.lock().unwrap() = "other".to_owned();
    let other: Arc<dyn AuthorizationServer> = Arc::new(other);
    let token = rig.grants.access("crm", &other, None).await.unwrap();
    assert_eq!(token.token.expose(), "access-1");
}
