//! Consents that begin at a server and end at one, this or another: kept in the store meanwhile.

use std::time::Duration;

use sqlx::AnyConnection;
use uuid::Uuid;
use weir_protocol::oauth::{AuthorizationServer, Exchange, Exchanged, Granted, OauthClient};
use weir_protocol::{Error, Result, Secret};

use super::login::{Callback, Proof, authorize_url, code_of};
use super::{Grant, Grants, rules, sql, stored};
use crate::Store;
use crate::audit;
use crate::events::{self, Event, Family};
use crate::secrets::remove_in;
use crate::store::{Outcome, Scope};

/// How long a person may take.
const LOGIN_LIFE: Duration = Duration::from_secs(600);

/// A consent that was begun.
#[derive(Debug)]
pub struct Started {
    /// Where the person goes.
    pub authorize_url: String,
}

/// A consent that ended well.
#[derive(Debug)]
pub struct Finished {
    pub tenant: String,
    pub connection: String,
    pub principal: String,
    /// What it was begun with.
    pub begun_with: String,
}

fn verifier_name(id: &str) -> String {
    format!("login/{id}")
}

fn unknown() -> Error {
    Error::denied("no login waits for this answer").hint(format!(
        "begin it anew: it may be ended once, within {} minutes",
        LOGIN_LIFE.as_secs() / 60
    ))
}

/// Whose login an answer belongs to, without ending it.
pub async fn pending(store: &Store, callback: &Callback) -> Result<Finished> {
    let login = find(store, callback).await?;
    Ok(Finished {
        tenant: login.tenant,
        connection: login.connection,
        principal: login.principal,
        begun_with: login.begun_with,
    })
}

async fn find(store: &Store, callback: &Callback) -> Result<sql::Login> {
    let state_hash = &rules::hash(callback.state.as_ref().map_or("", Secret::expose));
    let found = store
        .read(Scope::Everyone, "look for the login", |db, _| {
            Box::pin(async move { Ok(sql::login(db, state_hash).await?) })
        })
        .await?;
    found.filter(|login| login.is_over == 0).ok_or_else(unknown)
}

impl Grants {
    /// Begins a consent for a principal. `begun_with` is what tells their browser or token: who ends it
    /// must have the same.
    pub async fn begin_login(
        &self,
        client: &OauthClient,
        connection: &str,
        (principal, begun_with): (&str, &str),
        redirect_uri: &str,
    ) -> Result<Started> {
        let proof = &Proof::new()?;
        let authorize_url = authorize_url(client, redirect_uri, proof)?;
        let login = &sql::Login {
            tenant: self.tenant.clone(),
            id: Uuid::now_v7().to_string(),
            connection: connection.to_owned(),
            principal: principal.to_owned(),
            begun_with: begun_with.to_owned(),
            redirect_uri: redirect_uri.to_owned(),
            is_over: 0,
        };
        let (tenant, secrets) = (self.tenant.as_str(), &self.secrets);
        let record = &self.record("oauth.login", connection);
        let acting = self.store.acting();
        self.store
            .write(self.scope(), "begin the login", |db, _| {
                Box::pin(async move {
                    for id in sql::logins_over(db, tenant).await? {
                        sql::end_login(db, tenant, &id).await?;
                        remove_in(db, tenant, &verifier_name(&id)).await?;
                    }
                    let life_ms = rules::life_ms(LOGIN_LIFE);
                    sql::begin_login(db, login, &rules::hash(proof.state.expose()), life_ms).await?;
                    secrets
                        .put_in(db, &verifier_name(&login.id), &login.id, &proof.verifier)
                        .await?;
                    audit::append_in(db, acting, record).await
                })
            })
            .await?;
        Ok(Started { authorize_url })
    }

    /// Ends a consent with the provider's answer. It is over afterwards, however it ends.
    pub async fn finish_login(
        &self,
        server: &dyn AuthorizationServer,
        (principal, begun_with): (&str, &str),
        callback: &Callback,
    ) -> Result<Grant> {
        let login = &find(&self.store, callback).await?;
        if login.tenant != self.tenant || login.principal != principal || login.begun_with != begun_with {
            return Err(
                Error::denied("somebody else began this login, or in another browser")
                    .hint("begin and end it with the same session or token"),
            );
        }
        let (tenant, secrets) = (self.tenant.as_str(), &self.secrets);
        let verifier = self
            .store
            .write_alone(self.scope(), &login.id, "end the login", |db, _| {
                Box::pin(async move {
                    let verifier = secrets.get_in(db, &verifier_name(&login.id)).await?;
                    remove_in(db, tenant, &verifier_name(&login.id)).await?;
                    let is_first = sql::end_login(db, tenant, &login.id).await?;
                    Ok(verifier.filter(|_| is_first))
                })
            })
            .await?
            .ok_or_else(unknown)?;
        let state = callback.state.clone().unwrap_or_else(|| Secret::new(""));
        let code = code_of(server.client(), &state, callback)?;
        let exchange = Exchange::Code {
            code: &code,
            verifier: &verifier,
            redirect_uri: &login.redirect_uri,
        };
        let granted = self.exchange(server, exchange).await?;
        self.connect(server.client(), &login.connection, &granted).await
    }

    /// Asks for tokens by something that may be used once.
    pub async fn exchange(
        &self,
        server: &dyn AuthorizationServer,
        what: Exchange<'_>,
    ) -> Result<Box<Granted>> {
        match server.exchange(what).await? {
            Exchanged::Granted(granted) => Ok(granted),
            Exchanged::Refused(error) => Err(error),
            Exchanged::Pending | Exchanged::SlowDown => Err(Error::auth(
                "the provider asks to wait, where there is nothing to wait for",
            )
            .hint("begin the login anew")),
        }
    }

    /// Stores what a consent gave. Whatever was there before is replaced; but where the provider gave no refresh
    /// token, as many do at a second consent, one that is still good for the same client stays.
    pub async fn connect(&self, client: &OauthClient, connection: &str, granted: &Granted) -> Result<Grant> {
        let (asked, seed) = (&rules::json(&client.scopes)?, &rules::seed(client));
        let scopes = &granted.scopes.as_deref().map(rules::json).transpose()?;
        let (named, id) = (&rules::client(client), &Uuid::now_v7().to_string());
        let record = &self
            .record("oauth.connect", connection)
            .with("method", client.grant.as_str());
        let (tenant, secrets, acting) = (self.tenant.as_str(), &self.secrets, self.store.acting());
        let name = &stored::name(connection);
        let told = &Event::of_connection(&self.tenant, Family::CredentialRotated, connection)
            .with("credential", "oauth");
        let row = self
            .store
            .write_alone(self.scope(), name, "store the grant", |db, _| {
                Box::pin(async move {
                    let begun = sql::Begun {
                        client: named,
                        method: client.grant.as_str(),
                        asked,
                        seed: seed.as_deref(),
                    };
                    let kept = match &granted.refresh_token {
                        Some(_) => None,
                        None => self.still_good(db, connection, &begun).await?,
                    };
                    let (kept_token, kept_life_ms) = kept.unzip();
                    let record = record.clone().with("kept_refresh_token", kept_token.is_some());
                    let held = stored::Held {
                        access: Some(granted.access_token.clone()),
                        refresh: granted.refresh_token.clone().or(kept_token),
                    };
                    sql::begin(db, tenant, connection, &begun).await?;
                    let known = sql::Stored {
                        scopes: scopes.as_deref(),
                        can_refresh: held.refresh.is_some(),
                        access_life_ms: granted.expires_in.map(rules::life_ms),
                        refresh_life_ms: granted
                            .refresh_expires_in
                            .map(rules::life_ms)
                            .or(kept_life_ms.flatten()),
                    };
                    sql::granted(db, tenant, connection, &known).await?;
                    stored::put(secrets, db, connection, id, &held).await?;
                    let record = &record.with("can_refresh", held.refresh.is_some());
                    let row = sql::get(db, tenant, connection).await?;
                    events::append_in(db, told).await?;
                    audit::append_in(db, acting, record).await?;
                    Ok(row)
                })
            })
            .await?;
        let grant = row.ok_or_else(|| super::no_grant(connection))?.shown()?;
        warn_missing(connection, &grant);
        Ok(grant)
    }

    /// The refresh token that is there, with what is left of its life, where it is this client's and the provider
    /// took it until now.
    async fn still_good(
        &self,
        db: &mut AnyConnection,
        connection: &str,
        begun: &sql::Begun<'_>,
    ) -> Outcome<Option<(Secret, Option<i64>)>> {
        let Some(row) = sql::get(db, &self.tenant, connection).await? else {
            return Ok(None);
        };
        let is_over = row.refresh_expires_at_ms.is_some_and(|at| at <= row.now_ms);
        if row.client != begun.client || row.state != "connected" || is_over {
            return Ok(None);
        }
        let held = stored::get(&self.secrets, db, connection).await?;
        let life_ms = row.refresh_expires_at_ms.map(|at| at - row.now_ms);
        Ok(held.and_then(|held| held.refresh).map(|token| (token, life_ms)))
    }
}

fn warn_missing(connection: &str, grant: &Grant) {
    if !grant.missing_scopes.is_empty() {
        let missing = grant.missing_scopes.join(" ");
        tracing::warn!(
            connection,
            missing,
            "the provider granted less than was asked for"
        );
    }
}
