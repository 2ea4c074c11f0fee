//! One refresh for all: a turn in the store for which others wait, and a version by which tokens that
//! came too late are not stored over newer ones.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, Weak};
use std::time::Duration;

use sqlx::AnyConnection;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;
use tracing::Instrument as _;
use uuid::Uuid;
use weir_protocol::oauth::{AccessToken, AuthorizationServer, Exchange, Exchanged, Granted, OauthClient};
use weir_protocol::{Error, Result, Secret};

use super::notices::{Notice, What};
use super::rules::{Verdict, Want, judge, reconnect};
use super::{Grants, rules, sql, stored, under_way};
use crate::audit;
use crate::store::Outcome;

/// How long somebody may ask the provider before others may.
const TURN: Duration = Duration::from_secs(60);
/// So long is waited for an answer: shorter than the turn, with time to store it.
const ANSWER_MAX: Duration = Duration::from_secs(50);
/// So long is waited for another's turn.
const WAIT_MAX: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(150);
const ERROR_CHARS: usize = 500;

/// What came of looking at a grant.
enum Looked {
    Use(AccessToken),
    /// Somebody else asks the provider now; what can be used until then, if anything.
    Busy(Option<AccessToken>),
    Mine(Turn),
}

/// The right to ask the provider for the next tokens.
struct Turn {
    term: i64,
    /// Of the tokens that were read.
    version: i64,
    refresh: Secret,
    /// Still good, if the provider fails.
    until_then: Option<AccessToken>,
}

/// What a grant is compared with.
struct Terms {
    named: String,
    seed: Option<String>,
    asked: String,
}

impl Terms {
    fn of(client: &OauthClient) -> Result<Self> {
        Ok(Self {
            named: rules::client(client),
            seed: rules::seed(client),
            asked: rules::json(&client.scopes)?,
        })
    }
}

type Flights = std::sync::Mutex<HashMap<String, Weak<Mutex<()>>>>;

/// Who refreshes in this process: the others wait here instead of asking the store again and again.
static FLIGHTS: LazyLock<Flights> = LazyLock::new(Flights::default);

fn flight(key: String) -> Arc<Mutex<()>> {
    let mut flights = FLIGHTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = flights.get(&key).and_then(Weak::upgrade) {
        return known;
    }
    flights.retain(|_, flight| flight.strong_count() > 0);
    let new = Arc::new(Mutex::new(()));
    flights.insert(key, Arc::downgrade(&new));
    new
}

impl Grants {
    /// The access token of a connection, refreshed where it has to be.
    pub async fn access(
        &self,
        connection: &str,
        server: &Arc<dyn AuthorizationServer>,
        refused: Option<&Secret>,
    ) -> Result<AccessToken> {
        let want = refused.map_or(Want::Any, Want::Other);
        self.wanted(connection, server, want).await
    }

    /// Asks for the next tokens ahead of time, unless somebody did since that version.
    pub(super) async fn refresh_ahead(
        &self,
        connection: &str,
        server: &Arc<dyn AuthorizationServer>,
        version: i64,
    ) -> Result<()> {
        self.wanted(connection, server, Want::Newer(version))
            .await
            .map(drop)
    }

    async fn wanted(
        &self,
        connection: &str,
        server: &Arc<dyn AuthorizationServer>,
        want: Want<'_>,
    ) -> Result<AccessToken> {
        if let Want::Any | Want::Other(_) = want
            && let Looked::Use(token) = self.look(connection, server, want, None).await?
        {
            return Ok(token);
        }
        let key = format!("{} {} {connection}", self.store.place(), self.tenant);
        let alone = flight(key).lock_owned().await;
        let holder = Uuid::now_v7().to_string();
        let began = Instant::now();
        loop {
            match self.look(connection, server, want, Some(&holder)).await? {
                Looked::Use(token) | Looked::Busy(Some(token)) => return Ok(token),
                Looked::Busy(None) if began.elapsed() > WAIT_MAX => {
                    return Err(
                        Error::timeout("another process has not got the next tokens in time")
                            .with("connection", connection)
                            .with("limit", format!("{} s", WAIT_MAX.as_secs()))
                            .hint("try again; `weir auth status` shows who fails and why"),
                    );
                }
                Looked::Busy(None) => tokio::time::sleep(LOOK_AGAIN).await,
                Looked::Mine(turn) => {
                    return self.in_background(connection, server, turn, alone).await;
                }
            }
        }
    }

    /// Goes on where the caller goes away: an answer that nobody stores may be the last one. The end of a command
    /// or server waits for it ([`super::settled`]).
    async fn in_background(
        &self,
        connection: &str,
        server: &Arc<dyn AuthorizationServer>,
        turn: Turn,
        alone: OwnedMutexGuard<()>,
    ) -> Result<AccessToken> {
        let (own, server, connection) = (self.clone(), server.clone(), connection.to_owned());
        let work = async move {
            let outcome = own.refresh(&connection, server.as_ref(), turn).await;
            drop(alone);
            outcome
        };
        let span = tracing::Span::current();
        under_way::spawn(work.instrument(span))
            .await
            .unwrap_or_else(|error| {
                Err(Error::internal("the refresh broke off")
                    .caused_by(error)
                    .hint("try again; report it"))
            })
    }

    /// Looks at the grant and decides, in one transaction; takes the turn where there is a holder for it.
    async fn look(
        &self,
        connection: &str,
        server: &Arc<dyn AuthorizationServer>,
        want: Want<'_>,
        holder: Option<&str>,
    ) -> Result<Looked> {
        let client = server.client();
        let terms = &Terms::of(client)?;
        let id = &Uuid::now_v7().to_string();
        let record = &self.record("oauth.access", connection);
        let (tenant, secrets, acting) = (self.tenant.as_str(), &self.secrets, self.store.acting());
        let name = &stored::name(connection);
        self.store
            .write_alone(self.scope(), name, "look at the grant", |db, _| {
                Box::pin(async move {
                    let row = self.own_row(db, (connection, id), client, terms).await?;
                    let held = stored::get(secrets, db, connection).await?.unwrap_or_default();
                    let until_then = match judge(&row, &held, want) {
                        Verdict::Use(token) => {
                            audit::append_in(db, acting, record).await?;
                            return Ok(Looked::Use(token));
                        }
                        Verdict::Due(token) => Some(token),
                        Verdict::Refresh => None,
                        Verdict::Reconnect(why) => return Err(reconnect(connection, why).into()),
                        Verdict::Failed(why) => return Err(failed_just_now(connection, &why).into()),
                    };
                    let (Some(holder), Some(refresh), false) = (holder, held.refresh, row.is_held()) else {
                        // Without a holder nothing is handed out yet.
                        if until_then.is_some() && holder.is_some() {
                            audit::append_in(db, acting, record).await?;
                        }
                        return Ok(Looked::Busy(until_then));
                    };
                    sql::take_turn(db, tenant, connection, holder, rules::life_ms(TURN)).await?;
                    Ok(Looked::Mine(Turn {
                        term: row.term + 1,
                        version: row.version,
                        refresh,
                        until_then,
                    }))
                })
            })
            .await
    }

    /// The grant, as far as it is this client's. It begins here where the connection's file brings a
    /// refresh token that it had not before; `id` is for its tokens.
    async fn own_row(
        &self,
        db: &mut AnyConnection,
        (connection, id): (&str, &str),
        client: &OauthClient,
        terms: &Terms,
    ) -> Outcome<sql::Row> {
        let tenant = self.tenant.as_str();
        let mut row = sql::get(db, tenant, connection).await?;
        let is_ours =
            |row: &sql::Row| row.client == terms.named && (terms.seed.is_none() || row.seed == terms.seed);
        if !row.as_ref().is_some_and(is_ours)
            && let Some(token) = &client.seed
        {
            let begun = sql::Begun {
                client: &terms.named,
                method: client.grant.as_str(),
                asked: &terms.asked,
                seed: terms.seed.as_deref(),
            };
            sql::begin(db, tenant, connection, &begun).await?;
            let held = stored::Held {
                access: None,
                refresh: Some(token.clone()),
            };
            stored::put(&self.secrets, db, connection, id, &held).await?;
            row = sql::get(db, tenant, connection).await?;
        }
        let row = row.ok_or_else(|| reconnect(connection, "nobody has consented yet"))?;
        if row.client != terms.named {
            let why = "it was connected for another client or provider";
            return Err(reconnect(connection, why).into());
        }
        Ok(row)
    }

    async fn refresh(
        &self,
        connection: &str,
        server: &dyn AuthorizationServer,
        turn: Turn,
    ) -> Result<AccessToken> {
        let exchange = Exchange::Refresh { token: &turn.refresh };
        let answer = tokio::time::timeout(ANSWER_MAX, server.exchange(exchange)).await;
        let answer = answer.unwrap_or_else(|_| {
            Err(Error::timeout("the token endpoint did not answer in time")
                .with("limit", format!("{} s", ANSWER_MAX.as_secs()))
                .hint("try again; look at the provider's status page"))
        });
        match answer {
            Ok(Exchanged::Granted(granted)) => {
                fail::fail_point!("control.oauth_before_store", |_| std::process::abort());
                self.store_granted(connection, &turn, &granted).await
            }
            Ok(Exchanged::Refused(error)) => {
                self.end_turn(connection, &turn, "reconnect_needed", &error)
                    .await?;
                // Somebody may have stored newer tokens after all.
                match self.newer(connection, turn.version).await? {
                    Some(token) => Ok(token),
                    None => {
                        let why = format!("its provider takes its tokens no more ({})", error.message());
                        Err(reconnect(connection, &why))
                    }
                }
            }
            Ok(Exchanged::Pending | Exchanged::SlowDown) => {
                let error = Error::auth("the token endpoint speaks of a device, where none asked")
                    .hint("check token_url of the connector's auth");
                self.end_turn(connection, &turn, "connected", &error).await?;
                Err(error)
            }
            Err(error) => {
                self.end_turn(connection, &turn, "connected", &error).await?;
                match turn.until_then {
                    Some(token) => {
                        tracing::warn!(connection, %error, "the next token cannot be got yet");
                        audit::append(&self.store, &self.record("oauth.access", connection)).await?;
                        Ok(token)
                    }
                    None => Err(error.with("connection", connection)),
                }
            }
        }
    }

    /// Stores what was granted, unless somebody stored newer tokens than those that it was asked for with.
    async fn store_granted(&self, connection: &str, turn: &Turn, granted: &Granted) -> Result<AccessToken> {
        let refresh = granted.refresh_token.as_ref().unwrap_or(&turn.refresh);
        let held = &stored::Held {
            access: Some(granted.access_token.clone()),
            refresh: Some(refresh.clone()),
        };
        let scopes = &granted.scopes.as_deref().map(rules::json).transpose()?;
        let record = &self
            .record("oauth.refresh", connection)
            .with("rotated", granted.refresh_token.is_some());
        let access_record = &self.record("oauth.access", connection);
        let id = &Uuid::now_v7().to_string();
        let (tenant, secrets, acting) = (self.tenant.as_str(), &self.secrets, self.store.acting());
        let name = &stored::name(connection);
        self.store
            .write_alone(self.scope(), name, "store the tokens", |db, _| {
                Box::pin(async move {
                    let before = sql::get(db, tenant, connection).await?;
                    let before = before.ok_or_else(|| super::no_grant(connection))?;
                    if before.version == turn.version {
                        let known = sql::Stored {
                            scopes: scopes.as_deref(),
                            can_refresh: true,
                            access_life_ms: granted.expires_in.map(rules::life_ms),
                            refresh_life_ms: granted.refresh_expires_in.map(rules::life_ms),
                        };
                        sql::granted(db, tenant, connection, &known).await?;
                        stored::put(secrets, db, connection, id, held).await?;
                    } else {
                        self.follow(db, (connection, id), turn, granted).await?;
                    }
                    let row = sql::get(db, tenant, connection).await?;
                    let row = row.ok_or_else(|| super::no_grant(connection))?;
                    let now = stored::get(secrets, db, connection).await?.unwrap_or_default();
                    let token = match judge(&row, &now, Want::Any) {
                        Verdict::Use(token) | Verdict::Due(token) => token,
                        Verdict::Reconnect(why) => return Err(reconnect(connection, why).into()),
                        Verdict::Refresh | Verdict::Failed(_) => return Err(short_lived(connection).into()),
                    };
                    if before.version == turn.version {
                        tell_shrunk(db, (tenant, connection), (&before, &row), acting).await?;
                        audit::append_in(db, acting, record).await?;
                    }
                    audit::append_in(db, acting, access_record).await?;
                    Ok(token)
                })
            })
            .await
    }

    /// A consent that came meanwhile, and brought no refresh token, kept the one that was just exchanged: what it was
    /// exchanged for takes its place, or nobody has one that is good. The consent's access token stays.
    async fn follow(
        &self,
        db: &mut AnyConnection,
        (connection, id): (&str, &str),
        turn: &Turn,
        granted: &Granted,
    ) -> Outcome<()> {
        let Some(next) = &granted.refresh_token else {
            return Ok(());
        };
        let now = stored::get(&self.secrets, db, connection)
            .await?
            .unwrap_or_default();
        let is_kept = now
            .refresh
            .as_ref()
            .is_some_and(|kept| kept.expose() == turn.refresh.expose());
        if !is_kept {
            return Ok(());
        }
        let life_ms = granted.refresh_expires_in.map(rules::life_ms);
        sql::followed(db, &self.tenant, connection, life_ms).await?;
        let held = stored::Held {
            access: now.access,
            refresh: Some(next.clone()),
        };
        stored::put(&self.secrets, db, connection, id, &held).await?;
        let record = self.record("oauth.refresh", connection).with("rotated", true);
        audit::append_in(db, self.store.acting(), &record).await
    }

    /// Ends a turn that gave nothing. Who lost the turn meanwhile changes nothing.
    async fn end_turn(
        &self,
        connection: &str,
        turn: &Turn,
        state: &'static str,
        error: &Error,
    ) -> Result<()> {
        let text: &str = &error.to_string().chars().take(ERROR_CHARS).collect::<String>();
        let notice = &Notice {
            tenant: &self.tenant,
            connection,
            what: What::ReconnectNeeded { why: text },
        };
        let told = &notice.told();
        let (tenant, acting) = (self.tenant.as_str(), self.store.acting());
        let name = &stored::name(connection);
        self.store
            .write_alone(self.scope(), name, "end the refresh", |db, _| {
                Box::pin(async move {
                    let row = sql::get(db, tenant, connection).await?;
                    if row.is_none_or(|row| row.version != turn.version) {
                        return Ok(());
                    }
                    let is_ended = sql::fail_turn(db, tenant, connection, (turn.term, state), text).await?;
                    if is_ended && state == "reconnect_needed" {
                        notice.tell_in(db, acting, told).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// The access token of tokens that were stored after a version.
    async fn newer(&self, connection: &str, version: i64) -> Result<Option<AccessToken>> {
        let record = &self.record("oauth.access", connection);
        let (tenant, secrets, acting) = (self.tenant.as_str(), &self.secrets, self.store.acting());
        self.store
            .write(self.scope(), "look for newer tokens", |db, _| {
                Box::pin(async move {
                    let Some(row) = sql::get(db, tenant, connection).await? else {
                        return Ok(None);
                    };
                    let held = stored::get(secrets, db, connection).await?.unwrap_or_default();
                    match judge(&row, &held, Want::Newer(version)) {
                        Verdict::Use(token) | Verdict::Due(token) => {
                            audit::append_in(db, acting, record).await?;
                            Ok(Some(token))
                        }
                        Verdict::Refresh | Verdict::Failed(_) | Verdict::Reconnect(_) => Ok(None),
                    }
                })
            })
            .await
    }
}

/// Tells of scopes that were there before these tokens.
async fn tell_shrunk(
    db: &mut AnyConnection,
    (tenant, connection): (&str, &str),
    (before, after): (&sql::Row, &sql::Row),
    acting: &audit::Acting,
) -> Outcome<()> {
    let (had, has) = (before.clone().shown()?.scopes, after.clone().shown()?.scopes);
    let missing = rules::missing(&had, &has);
    if missing.is_empty() {
        return Ok(());
    }
    let what = What::ScopesShrank { missing: &missing };
    let notice = Notice {
        tenant,
        connection,
        what,
    };
    // Tried again, it finds the version that it stored, and tells nothing.
    notice.tell_in(db, acting, &notice.told()).await
}

fn failed_just_now(connection: &str, why: &str) -> Error {
    Error::unavailable("the provider did not give the next token just now")
        .with("connection", connection)
        .with("reason", why)
        .hint("it is asked again in a few seconds; `weir auth status` shows how it stands")
}

fn short_lived(connection: &str) -> Error {
    Error::auth("the provider gives tokens that end at once")
        .with("connection", connection)
        .hint("check expires_path of the connector's auth, and the client's settings at the provider")
}
