use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use weir_protocol::ErrorKind;
use weir_protocol::oauth::{DeviceCode, Exchange, Exchanged, Granted, OauthClient};
use weir_protocol::spec::Oauth2Grant;

use super::*;
use crate::audit::EntryFilter;
use crate::secrets::{self, MasterKey, MasterKeys};
use crate::store::testing;

/// An authorization server that rotates refresh tokens and takes each of them once.
struct Provider {
    client: OauthClient,
    current: Mutex<String>,
    count: AtomicUsize,
    /// What it answers before it goes on as usual.
    next: Mutex<VecDeque<Result<Exchanged>>>,
    /// Leave to answer; as many as are needed where nobody closes it.
    gate: Semaphore,
    arrived: Semaphore,
    life: Option<Duration>,
    refresh_life: Option<Duration>,
    rotates: bool,
    scopes: Mutex<Option<Vec<String>>>,
    revoked: Mutex<Vec<String>>,
    revokes: Mutex<Option<Error>>,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Provider")
    }
}

fn provider() -> Provider {
    Provider {
        client: OauthClient {
            grant: Oauth2Grant::AuthorizationCode,
            client_id: "weir".to_owned(),
            token_url: "https://login.example.com/token".to_owned(),
            issuer: None,
            authorize_url: Some("https://login.example.com/authorize".to_owned()),
            authorize_params: Vec::new(),
            scopes: vec!["read".to_owned(), "write".to_owned()],
            can_device: false,
            can_revoke: true,
            seed: None,
        },
        current: Mutex::new("refresh-0".to_owned()),
        count: AtomicUsize::new(0),
        next: Mutex::default(),
        gate: Semaphore::new(1000),
        arrived: Semaphore::new(0),
        life: Some(Duration::from_secs(3600)),
        refresh_life: None,
        rotates: true,
        scopes: Mutex::default(),
        revoked: Mutex::default(),
        revokes: Mutex::default(),
    }
}

impl Provider {
    fn granted(&self, number: usize) -> Granted {
        let refresh = format!("refresh-{number}");
        if self.rotates {
            self.current.lock().unwrap().clone_from(&refresh);
        }
        Granted {
            access_token: Secret::new(format!("access-{number}")),
            refresh_token: self.rotates.then(|| Secret::new(refresh)),
            expires_in: self.life,
            refresh_expires_in: self.refresh_life,
            scopes: self.scopes.lock().unwrap().clone(),
        }
    }

    fn asked(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    fn answers(&self, answer: Result<Exchanged>) {
        self.next.lock().unwrap().push_back(answer);
    }

    /// Lets the answer go a while after: by then whoever does not wait for it is gone.
    fn opens_once_somebody_waits(self: &Arc<Self>) {
        let provider = self.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            provider.gate.add_permits(1000);
        });
    }

    fn first(&self) -> Granted {
        Granted {
            refresh_token: Some(Secret::new("refresh-0")),
            ..self.granted(0)
        }
    }
}

fn refused() -> Exchanged {
    Exchanged::Refused(Error::auth("the token endpoint refused: invalid_grant").hint("consent again"))
}

fn down() -> Error {
    Error::unavailable("the token endpoint fails").hint("wait")
}

#[async_trait]
impl AuthorizationServer for Provider {
    fn client(&self) -> &OauthClient {
        &self.client
    }

    async fn begin_device(&self) -> Result<DeviceCode> {
        Err(down())
    }

    async fn exchange(&self, what: Exchange<'_>) -> Result<Exchanged> {
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        let scripted = self.next.lock().unwrap().pop_front();
        let answer = match (scripted, what) {
            (Some(answer), _) => answer,
            (None, Exchange::Refresh { token }) if token.expose() != *self.current.lock().unwrap() => {
                Ok(refused())
            }
            (None, _) => Ok(Exchanged::Granted(Box::new(self.granted(number)))),
        };
        self.arrived.add_permits(1);
        self.gate.acquire().await.unwrap().forget();
        answer
    }

    async fn revoke(&self, token: &Secret) -> Result<()> {
        self.revoked.lock().unwrap().push(token.expose().to_owned());
        self.revokes.lock().unwrap().take().map_or(Ok(()), Err)
    }
}

fn keys() -> Arc<MasterKeys> {
    Arc::new(MasterKeys {
        current: MasterKey::parse(&MasterKey::generate().unwrap()).unwrap(),
        old: None,
    })
}

/// Grants over a handle of their own, as another server has it.
async fn server(folder: &Path, keys: &Arc<MasterKeys>) -> Grants {
    let store = testing::store(folder).await;
    let secrets = Secrets::open(&store, "default", keys.clone()).await.unwrap();
    Grants::new(&store, "default", secrets)
}

struct Rig {
    grants: Grants,
    provider: Arc<Provider>,
    server: Arc<dyn AuthorizationServer>,
    keys: Arc<MasterKeys>,
    folder: tempfile::TempDir,
}

impl Rig {
    /// Connected, with a token that is good for an hour.
    async fn new(provider: Provider) -> Self {
        let rig = Self::unconnected(provider).await;
        let granted = rig.provider.first();
        rig.grants
            .connect(&rig.provider.client, "crm", &granted)
            .await
            .unwrap();
        rig
    }

    async fn unconnected(provider: Provider) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = keys();
        let grants = server(folder.path(), &keys).await;
        let provider = Arc::new(provider);
        let server = provider.clone();
        Self {
            grants,
            provider,
            server,
            keys,
            folder,
        }
    }

    async fn access(&self) -> Result<String> {
        let token = self.grants.access("crm", &self.server, None).await?;
        Ok(token.token.expose().to_owned())
    }

    async fn instead_of(&self, refused: &str) -> Result<String> {
        let refused = Secret::new(refused);
        let token = self.grants.access("crm", &self.server, Some(&refused)).await?;
        Ok(token.token.expose().to_owned())
    }

    async fn state(&self) -> GrantState {
        get(&self.grants.store, "default", "crm").await.unwrap().state
    }

    async fn pass(&self, seconds: i64) {
        let ms = seconds * 1000;
        let sql = format!(
            "UPDATE grants SET access_expires_at_ms = access_expires_at_ms - {ms},
                 refresh_expires_at_ms = refresh_expires_at_ms - {ms}, refreshed_at_ms = refreshed_at_ms - {ms},
                 error_at_ms = error_at_ms - {ms}, held_until_ms = held_until_ms - {ms}"
        );
        testing::execute(&self.grants.store, &sql).await;
    }

    async fn audit(&self) -> Vec<String> {
        let filter = EntryFilter {
            limit: 100,
            ..EntryFilter::default()
        };
        let mut all = audit::list(&self.grants.store, "default", &filter).await.unwrap();
        all.reverse();
        all.into_iter()
            .map(|entry| format!("{} {} {}", entry.action, entry.subject, entry.details))
            .collect()
    }
}

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

struct One(Grants, Arc<dyn AuthorizationServer>);

#[async_trait]
impl Servers for One {
    async fn grants(&self) -> Result<Grants> {
        Ok(self.0.clone())
    }

    async fn server(&self, _: &str) -> Result<Option<Arc<dyn AuthorizationServer>>> {
        Ok(Some(self.1.clone()))
    }
}

#[tokio::test]
async fn a_server_refreshes_ahead_of_time_and_before_a_grant_is_forgotten() {
    let rig = Rig::new(provider()).await;
    let servers = One(rig.grants.clone(), rig.server.clone());
    assert_eq!(
        keep::look_round(&rig.grants.store, "default", &servers)
            .await
            .unwrap(),
        0
    );
    rig.pass(3600 - 140).await;
    assert_eq!(
        keep::look_round(&rig.grants.store, "default", &servers)
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        keep::look_round(&rig.grants.store, "default", &servers)
            .await
            .unwrap(),
        0
    );
    assert_eq!(rig.access().await.unwrap(), "access-1");
    testing::execute(&rig.grants.store, "UPDATE grants SET access_expires_at_ms = NULL").await;
    rig.pass(19 * 3600).await;
    assert_eq!(
        keep::look_round(&rig.grants.store, "default", &servers)
            .await
            .unwrap(),
        0
    );
    rig.pass(5 * 3600).await;
    assert_eq!(
        keep::look_round(&rig.grants.store, "default", &servers)
            .await
            .unwrap(),
        1
    );
    // One that fails is left alone for a while.
    rig.pass(25 * 3600).await;
    rig.provider.answers(Err(down()));
    assert_eq!(
        keep::look_round(&rig.grants.store, "default", &servers)
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        keep::look_round(&rig.grants.store, "default", &servers)
            .await
            .unwrap(),
        0
    );
    assert_eq!(rig.provider.asked(), 3);
}

#[tokio::test]
async fn the_end_of_a_grant_is_told_a_day_before_and_once() {
    let rig = Rig::new(Provider {
        refresh_life: Some(Duration::from_secs(3 * 86_400)),
        rotates: false,
        ..provider()
    })
    .await;
    let servers = One(rig.grants.clone(), rig.server.clone());
    let told = || async {
        let audit = rig.audit().await;
        audit
            .iter()
            .filter(|line| line.starts_with("oauth.ending"))
            .count()
    };
    keep::look_round(&rig.grants.store, "default", &servers)
        .await
        .unwrap();
    assert_eq!(told().await, 0);
    testing::execute(
        &rig.grants.store,
        "UPDATE grants SET refresh_expires_at_ms = refresh_expires_at_ms - 172900000",
    )
    .await;
    keep::look_round(&rig.grants.store, "default", &servers)
        .await
        .unwrap();
    keep::look_round(&rig.grants.store, "default", &servers)
        .await
        .unwrap();
    assert_eq!(told().await, 1);
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
