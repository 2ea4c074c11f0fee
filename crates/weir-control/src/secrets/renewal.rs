//! A value that a vendor makes: kept, encrypted, from the moment at which it is there until it counts, so that no death
//! loses the only copy; and what is to be ended at the vendor afterwards.

use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use uuid::Uuid;
use weir_protocol::{Error, ErrorKind, Result, Secret};
use zeroize::Zeroize as _;

use super::{Secrets, check_name, no_such_secret, own, sql};
use crate::audit;
use crate::store::Outcome;

/// A renewal that was not heard of for so long is taken over.
const HELD_MS: i64 = 10 * 60_000;
/// Where what the vendor is to end is kept, by the rotation that ended it here.
const ENDINGS: &str = "end/";

/// What a vendor made.
#[derive(Debug, Clone)]
pub struct Renewed {
    pub value: Secret,
    /// The vendor's id of it.
    pub vendor_id: Option<String>,
    pub expires_at_ms: Option<i64>,
}

/// A renewal that this process carries out.
#[derive(Debug)]
pub struct Renewal {
    pub id: String,
    /// What an earlier attempt had made before it broke off.
    pub made: Option<Renewed>,
}

/// An old value that the vendor is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VendorEnd {
    /// The rotation by which it was replaced.
    pub rotation: String,
    pub connection: String,
    pub vendor_id: Option<String>,
}

/// What takes a renewed value's place when it counts.
pub(super) struct Succession<'a> {
    pub(super) renewed: &'a Renewed,
    /// Whose vendor ends the value before, if it does so on request.
    pub(super) ended_by: Option<Ender<'a>>,
}

/// How a vendor ends values on request.
#[derive(Debug, Clone, Copy)]
pub struct Ender<'a> {
    pub connection: &'a str,
    /// It takes the value's id.
    pub by_id: bool,
}

#[derive(Serialize, Deserialize)]
struct Begun {
    id: String,
    touched_at_ms: i64,
    #[serde(default)]
    made: Option<Kept>,
}

impl Begun {
    fn renewal(self) -> Renewal {
        Renewal {
            made: self.made.as_ref().map(renewed_of),
            id: self.id,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Kept {
    value: String,
    vendor_id: Option<String>,
    expires_at_ms: Option<i64>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

#[derive(Serialize, Deserialize)]
struct KeptEnd {
    connection: String,
    vendor_id: Option<String>,
}

pub(super) fn next(name: &str) -> String {
    format!("next/{name}")
}

/// Where the vendor's id of the present value is kept. Whoever sets another value by hand removes it.
pub(super) fn made_as(name: &str) -> String {
    format!("made/{name}")
}

impl Secrets {
    /// Begins to renew a secret's value, or goes on where a process broke off.
    ///
    /// # Errors
    ///
    /// `Conflict` where another process renews it, or it is no more of the `version` that seemed old.
    pub async fn begin_renewal(&self, name: &str, version: Option<i64>) -> Result<Renewal> {
        check_name(name)?;
        let now = self.store.now_ms().await?;
        let (new_id, record) = (&Uuid::now_v7().to_string(), &self.noted("secret.renew", name));
        let (tenant, acting) = (self.tenant.as_str(), self.store.acting());
        let doing = "begin to renew the secret";
        self.store
            .write_alone(self.scope(), &format!("secret {name}"), doing, |db, _| {
                Box::pin(async move {
                    let row = sql::get(db, tenant, name).await?;
                    let row = row.ok_or_else(|| no_such_secret(name, &[]))?;
                    if version.is_some_and(|seen| seen != row.version) {
                        return Err(under_way(name).into());
                    }
                    let begun = Begun {
                        id: new_id.clone(),
                        touched_at_ms: now,
                        made: None,
                    };
                    let mut record = record.clone();
                    let begun = match self.noted_in::<Begun>(db, &next(name)).await? {
                        // By a commit whose answer was lost.
                        Some(before) if before.id == *new_id => return Ok(before.renewal()),
                        Some(before) if now - before.touched_at_ms < HELD_MS => {
                            return Err(under_way(name).into());
                        }
                        Some(before) if before.made.is_some() => Begun {
                            touched_at_ms: now,
                            ..before
                        },
                        Some(before) => {
                            // Nobody knows what the vendor made then.
                            record = record.with("broken_off", before.id);
                            begun
                        }
                        None => begun,
                    };
                    self.note_in(db, &next(name), &begun).await?;
                    audit::append_in(db, acting, &record.with("renewal", begun.id.as_str())).await?;
                    Ok(begun.renewal())
                })
            })
            .await
    }

    /// Keeps what the vendor made, before anything else is done with it.
    ///
    /// # Errors
    ///
    /// `Conflict` where another process took the renewal over.
    pub async fn keep_renewed(&self, name: &str, renewal: &Renewal, made: &Renewed) -> Result<()> {
        let now = self.store.now_ms().await?;
        let record = &self
            .noted("secret.renewed", name)
            .with("renewal", renewal.id.as_str())
            .with("vendor_id", made.vendor_id.clone());
        let acting = self.store.acting();
        self.store
            .write(self.scope(), "keep the renewed value", |db, _| {
                Box::pin(async move {
                    let before: Option<Begun> = self.noted_in(db, &next(name)).await?;
                    if before.is_none_or(|before| before.id != renewal.id) {
                        return Err(under_way(name).into());
                    }
                    let begun = Begun {
                        id: renewal.id.clone(),
                        touched_at_ms: now,
                        made: Some(kept(made)),
                    };
                    self.note_in(db, &next(name), &begun).await?;
                    audit::append_in(db, acting, record).await
                })
            })
            .await
    }

    /// Lets a renewal go that came to nothing. With `keeps` what the vendor made is tried again by the next attempt.
    pub async fn leave_renewal(&self, name: &str, renewal: &Renewal, keeps: bool) -> Result<()> {
        let record = &self
            .noted("secret.renew_left", name)
            .ended(audit::Ending::Failed)
            .with("renewal", renewal.id.as_str());
        let acting = self.store.acting();
        self.store
            .write(self.scope(), "let the renewal go", |db, _| {
                Box::pin(async move {
                    let begun: Option<Begun> = self.noted_in(db, &next(name)).await?;
                    match begun.filter(|begun| begun.id == renewal.id) {
                        Some(begun) if keeps && begun.made.is_some() => {
                            let begun = Begun {
                                touched_at_ms: 0,
                                ..begun
                            };
                            self.note_in(db, &next(name), &begun).await?;
                        }
                        Some(_) => own::remove_in(db, &self.tenant, &next(name)).await?,
                        None => return Ok(()),
                    }
                    audit::append_in(db, acting, record).await
                })
            })
            .await
    }

    /// Within the exchange: the vendor's id goes with the value, and the old one is to be ended once nobody holds it.
    pub(super) async fn succeed_in(
        &self,
        db: &mut AnyConnection,
        name: &str,
        rotation: &str,
        succession: Option<&Succession<'_>>,
    ) -> Outcome<()> {
        let before: Option<Option<String>> = self.noted_in(db, &made_as(name)).await?;
        let begun: Option<Begun> = self.noted_in(db, &next(name)).await?;
        own::remove_in(db, &self.tenant, &next(name)).await?;
        let Some(Succession { renewed, ended_by }) = succession else {
            if let Some(given_up) = begun.and_then(|begun| begun.made.as_ref().map(renewed_of)) {
                tracing::warn!(
                    secret = name,
                    vendor_id = given_up.vendor_id,
                    "a value that the vendor made, and that was not in use yet, is given up: end it at the vendor"
                );
            }
            return own::remove_in(db, &self.tenant, &made_as(name)).await;
        };
        self.note_in(db, &made_as(name), &renewed.vendor_id).await?;
        sql::expires(db, &self.tenant, name, renewed.expires_at_ms).await?;
        let vendor_id = before.flatten();
        let ender = ended_by.filter(|ender| !ender.by_id || vendor_id.is_some());
        if let Some(ender) = ender {
            let end = KeptEnd {
                connection: ender.connection.to_owned(),
                vendor_id,
            };
            self.note_in(db, &format!("{ENDINGS}{rotation}"), &end).await?;
        }
        Ok(())
    }

    /// Old values that no run holds any more and that their vendors have not ended yet.
    pub async fn vendor_ends(&self) -> Result<Vec<VendorEnd>> {
        let tenant = self.tenant.as_str();
        self.store
            .read(self.scope(), "look what vendors are to end", |db, _| {
                Box::pin(async move {
                    let mut ends = Vec::new();
                    for rotation in sql::rotations(db, tenant).await? {
                        let rotation = rotation.shown()?;
                        let name = format!("{ENDINGS}{}", rotation.id);
                        let kept: Option<KeptEnd> = self.noted_in(db, &name).await?;
                        if let (Some(kept), Some(_)) = (kept, rotation.ended_at_ms) {
                            ends.push(VendorEnd {
                                rotation: rotation.id,
                                connection: kept.connection,
                                vendor_id: kept.vendor_id,
                            });
                        }
                    }
                    Ok(ends)
                })
            })
            .await
    }

    /// Notes that the vendor ended an old value.
    pub async fn ended_at_vendor(&self, end: &VendorEnd) -> Result<()> {
        let record = &self
            .noted("secret.revoked", &end.rotation)
            .with("connection", end.connection.as_str())
            .with("vendor_id", end.vendor_id.clone());
        let (name, acting) = (&format!("{ENDINGS}{}", end.rotation), self.store.acting());
        self.store
            .write(self.scope(), "note what the vendor ended", |db, _| {
                Box::pin(async move {
                    own::remove_in(db, &self.tenant, name).await?;
                    audit::append_in(db, acting, record).await
                })
            })
            .await
    }

    async fn noted_in<T: for<'de> Deserialize<'de>>(
        &self,
        db: &mut AnyConnection,
        name: &str,
    ) -> Outcome<Option<T>> {
        let Some(text) = self.get_in(db, name).await? else {
            return Ok(None);
        };
        let read = serde_json::from_str(text.expose());
        Ok(Some(read.map_err(|error| {
            Error::state("what is kept of a renewal cannot be read")
                .with("name", name)
                .caused_by(error)
                .hint("was the store used by a newer weir?")
        })?))
    }

    async fn note_in(&self, db: &mut AnyConnection, name: &str, value: &impl Serialize) -> Outcome<()> {
        let text = serde_json::to_string(value).map_err(|error| {
            Error::internal("what is kept of a renewal cannot be written")
                .caused_by(error)
                .hint("report it")
        })?;
        let id = Uuid::now_v7().to_string();
        self.put_in(db, name, &id, &Secret::new(text)).await
    }
}

fn renewed_of(kept: &Kept) -> Renewed {
    Renewed {
        value: Secret::new(kept.value.as_str()),
        vendor_id: kept.vendor_id.clone(),
        expires_at_ms: kept.expires_at_ms,
    }
}

fn kept(renewed: &Renewed) -> Kept {
    Kept {
        value: renewed.value.expose().to_owned(),
        vendor_id: renewed.vendor_id.clone(),
        expires_at_ms: renewed.expires_at_ms,
    }
}

fn under_way(name: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("secret '{name}' is being renewed by another process, or was just now"),
    )
    .hint("look at `weir secret list`; a process that died is taken over after ten minutes")
}
