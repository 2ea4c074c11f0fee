//! Grants against a provider that rotates, fails, and answers late.

mod consents;
mod keeping;
mod refresh;

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
