//! Credentials whose values are exchanged while connections use them: by a value that somebody gives, or by one that the
//! vendor makes, on request or when it has grown old.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_control::DEFAULT_TENANT;
use weir_control::permits::Urgency;
use weir_control::secrets::{self, Ender, Reference, Renewal, Renewed, Rotation, Secrets};
use weir_engine::rotation::Rotator;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::spec::RotationSpec;
use weir_protocol::units::Span;
use weir_protocol::{Error, ErrorKind, Result, Secret};

use crate::engine::{self, Supplied};
use crate::grants;
use crate::vaults::{self, Candidate};
use crate::wiring::Wiring;

/// How often it is looked for values that have grown old, and for those that vendors are to end.
const LOOK: Duration = Duration::from_secs(300);
/// A new value is tried to be kept for five minutes: within what a renewal is held for.
const KEEP_WAIT: Duration = Duration::from_secs(5);
const KEEP_TRIES: u32 = 60;
/// A renewal that failed is tried again after so long, then after twice that, and so on up to a day.
const AGAIN_AFTER: Duration = Duration::from_secs(3_600);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Exchanges a secret's value, once every connection that names it works with the new one.
pub(crate) async fn exchange(
    wiring: &Wiring,
    (connection, name): (&str, &str),
    value: &Secret,
) -> Result<Rotation> {
    let written = format!("secret:{name}");
    let reference = Reference::parse(&written)
        .filter(Reference::is_own)
        .ok_or_else(|| {
            Error::usage(format!("'{name}' is no secret of the store"))
                .hint("one of `weir secret list`; what others keep is rotated where they keep it")
        })?;
    if !vaults::references(&wiring.connection(connection)?).contains(&reference) {
        return Err(
            Error::usage(format!("connection '{connection}' does not use {written}"))
                .hint("look into its file which secrets it names"),
        );
    }
    let users = users(wiring, &reference)?;
    let secrets = wiring.own_secrets().await?;
    let check = async || tried(wiring, &users, &reference, value).await;
    secrets.exchange(name, value, &names(&users), check).await
}

/// Every connection that names the secret. One whose file cannot be read uses nothing now.
fn users(wiring: &Wiring, reference: &Reference) -> Result<Vec<ConnectionSpec>> {
    let mut users = Vec::new();
    for (other, _) in wiring.project.connection_files()? {
        match wiring.connection(&other) {
            Ok(spec) if vaults::references(&spec).contains(reference) => users.push(spec),
            Ok(_) => {}
            Err(error) => tracing::warn!(connection = other, %error, "it is not tried with the new value"),
        }
    }
    Ok(users)
}

fn names(users: &[ConnectionSpec]) -> Vec<String> {
    users.iter().map(|user| user.connection.clone()).collect()
}

async fn tried(
    wiring: &Wiring,
    users: &[ConnectionSpec],
    reference: &Reference,
    value: &Secret,
) -> Result<()> {
    let candidate = Candidate {
        reference: reference.clone(),
        value: value.clone(),
    };
    for user in users {
        let checked = wiring.check_with(user, &candidate).await;
        checked.map_err(|error| error.with("connection", &user.connection))?;
    }
    Ok(())
}

/// A connection whose vendor exchanges its credential.
struct Renewable<'a> {
    connection: ConnectionSpec,
    spec: &'a RotationSpec,
    reference: Reference,
    secret: String,
}

impl<'a> Renewable<'a> {
    fn of(wiring: &'a Wiring, name: &str) -> Result<Self> {
        let connection = wiring.connection(name)?;
        let connector = wiring.connector(&connection)?;
        let spec = connector.spec.rotation.as_ref().ok_or_else(|| {
            Error::usage(format!(
                "connector '{}' does not say how its vendor makes new credentials",
                connector.key()
            ))
            .hint("make one at the vendor and give it to `weir auth rotate CONNECTION --secret NAME`")
        })?;
        let credential = connection.credential.as_ref();
        let written = credential.and_then(|credential| credential.values.get(&spec.field));
        let named = written.and_then(|value| {
            let reference = Reference::parse(value.expose()).filter(Reference::is_own)?;
            Some((reference, value.expose().strip_prefix("secret:")?.to_owned()))
        });
        let (reference, secret) = named.ok_or_else(|| {
            let field = &spec.field;
            Error::spec(format!(
                "'credential.{field}' of connection '{name}' is no secret of the store"
            ))
            .hint(format!(
                "store it by `weir secret set NAME` and write {field}: secret:NAME"
            ))
        })?;
        Ok(Self {
            connection,
            spec,
            reference,
            secret,
        })
    }

    async fn rotator(&self, wiring: &Wiring) -> Result<Rotator> {
        let resolved = wiring.resolved(&self.connection).await?;
        let supplied = Supplied {
            tokens: grants::tokens(wiring, &resolved).await?,
            permits: wiring.permits(&self.connection, Urgency::Interactive).await?,
            ..Supplied::default()
        };
        engine::rotator_with(wiring.connector(&self.connection)?, &resolved, supplied)
    }

    fn ender(&self) -> Option<Ender<'_>> {
        self.spec.revoke.is_some().then(|| Ender {
            connection: &self.connection.connection,
            by_id: self.spec.id.is_some(),
        })
    }
}

/// Has the vendor make a new value, tries it, and puts it in the old one's place.
/// `version`: that of the value which seemed old; another one is left alone.
pub(crate) async fn renew(wiring: &Wiring, connection: &str, version: Option<i64>) -> Result<Rotation> {
    let renewable = Renewable::of(wiring, connection)?;
    let secrets = wiring.own_secrets().await?;
    let renewal = secrets.begin_renewal(&renewable.secret, version).await?;
    let renewed = match &renewal.made {
        Some(renewed) => renewed.clone(),
        None => match make(wiring, &renewable, &secrets, &renewal).await {
            Ok(renewed) => renewed,
            Err(error) => {
                if let Err(left) = secrets.leave_renewal(&renewable.secret, &renewal, false).await {
                    tracing::warn!(%left, "a renewal that failed is held for ten minutes");
                }
                return Err(error);
            }
        },
    };
    let users = users(wiring, &renewable.reference)?;
    let check = async || {
        if renewable.spec.voids_present {
            // The old one is worth nothing any more.
            return Ok(());
        }
        tried(wiring, &users, &renewable.reference, &renewed.value).await
    };
    let exchanged = secrets
        .exchange_renewed(
            &renewable.secret,
            &renewed,
            &names(&users),
            renewable.ender(),
            check,
        )
        .await;
    match exchanged {
        Ok(rotation) => {
            if renewable.spec.voids_present {
                tried(wiring, &users, &renewable.reference, &renewed.value)
                    .await
                    .map_err(|error| error.with("new value", "in place: the vendor ended the old one"))?;
            }
            Ok(rotation)
        }
        Err(error) => {
            give_up(wiring, &renewable, &secrets, (&renewal, &renewed), &error).await?;
            Err(error)
        }
    }
}

async fn make(
    wiring: &Wiring,
    renewable: &Renewable<'_>,
    secrets: &Secrets,
    renewal: &Renewal,
) -> Result<Renewed> {
    let end = match renewable.spec.expires_in {
        Some(life) => Some(end_of(wiring, life).await?),
        None => None,
    };
    let rotator = renewable.rotator(wiring).await?;
    let made = rotator.create(&renewal.id).await?;
    let renewed = Renewed {
        value: made.value,
        vendor_id: made.vendor_id,
        expires_at_ms: made.expires_at_ms.or(end),
    };
    // From here on it is the only copy of what may already be the only value that works.
    let mut tries = KEEP_TRIES;
    loop {
        tries -= 1;
        match secrets.keep_renewed(&renewable.secret, renewal, &renewed).await {
            Ok(()) => return Ok(renewed),
            Err(error) if error.kind().is_transient() && error.kind() != ErrorKind::Conflict && tries > 0 => {
                tracing::warn!(secret = renewable.secret, %error, "a new value cannot be kept yet; it is tried again");
                tokio::time::sleep(KEEP_WAIT).await;
            }
            Err(error) => {
                return Err(
                    Error::new(error.kind(), "the vendor made a new value that could not be kept")
                        .with("secret", &renewable.secret)
                        .caused_by(error)
                        .hint("look at the vendor for a value made just now, and end it there"),
                );
            }
        }
    }
}

/// A value that does not work is ended at the vendor; one that may work is kept for the next attempt.
async fn give_up(
    wiring: &Wiring,
    renewable: &Renewable<'_>,
    secrets: &Secrets,
    (renewal, renewed): (&Renewal, &Renewed),
    why: &Error,
) -> Result<()> {
    let may_pass = why.kind().is_transient() || why.kind() == ErrorKind::Conflict;
    let can_end = renewable.spec.id.is_some() && renewable.spec.revoke.is_some();
    let keeps = may_pass || renewable.spec.voids_present || !can_end;
    if !keeps {
        let rotator = renewable.rotator(wiring).await?;
        if let Err(error) = rotator.revoke(renewed.vendor_id.as_deref(), &renewal.id).await {
            tracing::warn!(connection = renewable.connection.connection, %error, "the vendor did not end the value that does not work: end it there");
        }
    }
    secrets.leave_renewal(&renewable.secret, renewal, keeps).await
}

/// Has vendors end old values that no run holds any more. Gives back how many they ended.
pub(crate) async fn end_at_vendors(wiring: &Wiring) -> Result<usize> {
    let secrets = wiring.own_secrets().await?;
    let mut ended = 0;
    for end in secrets.vendor_ends().await? {
        let asked = async {
            let renewable = Renewable::of(wiring, &end.connection)?;
            let rotator = renewable.rotator(wiring).await?;
            rotator.revoke(end.vendor_id.as_deref(), &end.rotation).await
        };
        match asked.await {
            Ok(()) => {
                secrets.ended_at_vendor(&end).await?;
                ended += 1;
            }
            Err(error) => {
                tracing::warn!(connection = end.connection, %error, "an old credential is not ended at the vendor yet");
            }
        }
    }
    Ok(ended)
}

/// Looks after credentials until `stop` is called: old values are renewed, and what they replaced is ended.
pub(crate) async fn keep(wiring: Arc<Wiring>, stop: CancellationToken) {
    let mut failed = Failed::default();
    loop {
        if let Err(error) = look(&wiring, &mut failed).await {
            tracing::warn!(%error, "cannot look after the credentials");
        }
        if tokio::time::timeout(LOOK, stop.cancelled()).await.is_ok() {
            return;
        }
    }
}

/// Connections whose renewals failed, and when each is tried again: every try may make a value at the vendor.
#[derive(Default)]
struct Failed(BTreeMap<String, (Duration, Instant)>);

impl Failed {
    fn may_try(&self, connection: &str) -> bool {
        self.0
            .get(connection)
            .is_none_or(|(_, again)| *again <= Instant::now())
    }

    /// Gives back after how long it is tried again.
    fn note(&mut self, connection: &str) -> Duration {
        let before = self.0.get(connection).map(|(wait, _)| *wait);
        let wait = before.map_or(AGAIN_AFTER, |before| (before * 2).min(AGAIN_AFTER_MAX));
        self.0
            .insert(connection.to_owned(), (wait, Instant::now() + wait));
        wait
    }
}

async fn look(wiring: &Wiring, failed: &mut Failed) -> Result<()> {
    let store = wiring.store().await?;
    if !secrets::any(&store, DEFAULT_TENANT).await? {
        return Ok(());
    }
    for (name, version) in old(wiring).await? {
        if !failed.may_try(&name) {
            continue;
        }
        match renew(wiring, &name, Some(version)).await {
            Ok(rotation) => {
                failed.0.remove(&name);
                tracing::info!(
                    connection = name,
                    secret = rotation.secret,
                    "the vendor made a new credential, and it is in use"
                );
            }
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            Err(error) => {
                let again_s = failed.note(&name).as_secs();
                tracing::warn!(connection = name, again_s, %error, "the credential was not renewed; it is tried again, or by `weir auth rotate`");
            }
        }
    }
    end_at_vendors(wiring).await.map(drop)
}

/// Connections whose credentials are older than they may grow, with the versions that are.
async fn old(wiring: &Wiring) -> Result<Vec<(String, i64)>> {
    let store = wiring.store().await?;
    let now = store.now_ms().await?;
    let stored = secrets::list(&store, DEFAULT_TENANT).await?;
    let mut old = Vec::new();
    for (name, _) in wiring.project.connection_files()? {
        let Ok(connection) = wiring.connection(&name) else {
            continue;
        };
        let Some(every) = connection.rotate_every else {
            continue;
        };
        let renewable = match Renewable::of(wiring, &name) {
            Ok(renewable) => renewable,
            Err(error) => {
                tracing::warn!(connection = name, %error, "its credential cannot be renewed");
                continue;
            }
        };
        let every_ms = i64::try_from(every.get().as_millis()).unwrap_or(i64::MAX);
        let secret = stored.iter().find(|secret| secret.name == renewable.secret);
        let secret = secret.filter(|secret| now.saturating_sub(secret.set_at_ms) >= every_ms);
        old.extend(secret.map(|secret| (name.clone(), secret.version)));
    }
    Ok(old)
}

/// When something ends that begins now.
pub(crate) async fn end_of(wiring: &Wiring, life: Span) -> Result<i64> {
    let now_ms = wiring.store().await?.now_ms().await?;
    let life_ms = i64::try_from(life.get().as_millis()).unwrap_or(i64::MAX);
    Ok(now_ms.saturating_add(life_ms))
}
