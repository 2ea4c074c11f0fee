//! Where `secret:` references of connection files are looked up, and the master key.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use weir_control::secrets::{self, Keepers, MasterKey, MasterKeys, Reference, Secrets, SupabaseVault};
use weir_control::{DEFAULT_TENANT, Store};
use weir_engine::vault::Vault;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Error, Result, Secret, SecretProvider};
use zeroize::Zeroizing;

use crate::config::{Settings, variable};
use crate::errors;
use crate::project::Project;

const KEY_FILE: &str = "master.key";
const OLD_KEY_FILE: &str = "master.key.old";
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// A value on trial, instead of the one that a reference names.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) reference: Reference,
    pub(crate) value: Secret,
}

async fn look_up(keepers: &Keepers, reference: &Reference, candidate: Option<&Candidate>) -> Result<Secret> {
    match candidate.filter(|candidate| candidate.reference == *reference) {
        Some(candidate) => Ok(candidate.value.clone()),
        None => keepers.read(reference).await,
    }
}

/// Replaces the references in a connection's credential and settings. What they name is not to be shown.
pub(crate) async fn resolve(
    connection: &mut ConnectionSpec,
    keepers: &Keepers,
    candidate: Option<&Candidate>,
) -> Result<()> {
    let mut found = Vec::new();
    if let Some(credential) = &mut connection.credential {
        for value in credential.values.values_mut() {
            if let Some(reference) = Reference::parse(value.expose()) {
                *value = look_up(keepers, &reference, candidate).await?;
                found.push(value.clone());
            }
        }
    }
    for text in connection.config.values_mut().flat_map(texts) {
        if let Some(reference) = Reference::parse(text) {
            let value = look_up(keepers, &reference, candidate).await?;
            value.expose().clone_into(text);
            found.push(value);
        }
    }
    connection.variables.extend(found.iter().cloned());
    connection.secrets = found;
    Ok(())
}

/// Every reference of a connection.
pub(crate) fn references(connection: &ConnectionSpec) -> Vec<Reference> {
    let credential = connection
        .credential
        .iter()
        .flat_map(|credential| credential.values.values());
    let mut config = connection.config.clone();
    let mut found: Vec<Reference> = credential
        .filter_map(|value| Reference::parse(value.expose()))
        .collect();
    found.extend(
        config
            .values_mut()
            .flat_map(texts)
            .filter_map(|text| Reference::parse(text)),
    );
    found
}

/// All texts in a value.
fn texts(value: &mut Value) -> Vec<&mut String> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter_mut().flat_map(texts).collect(),
        Value::Object(object) => object.values_mut().flat_map(texts).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// Everybody who keeps secrets. The store's own need the master key, which is asked for only where
/// one of them is wanted.
pub(crate) async fn keepers(
    project: &Project,
    settings: &Settings,
    store: &Store,
    wants_own: bool,
) -> Result<Keepers> {
    let own = if wants_own {
        Some(own(project, settings, store).await?)
    } else {
        None
    };
    let mut keepers = Keepers::new(store, DEFAULT_TENANT, own)
        .with("env", Arc::new(EnvironmentSecrets))
        .with("supabase", Arc::new(SupabaseVault::new(store)));
    if let Some(address) = &settings.vault_address {
        let token = settings.vault_token.clone().ok_or_else(|| {
            Error::auth("there is no token for Vault").hint("set VAULT_TOKEN, as `vault login` prints it")
        })?;
        keepers = keepers.with(
            "vault",
            Arc::new(Vault::new(address, token, settings.vault_namespace.clone())?),
        );
    }
    Ok(keepers)
}

/// The store's secrets, with the master key.
pub(crate) async fn own(project: &Project, settings: &Settings, store: &Store) -> Result<Secrets> {
    let keys = master_keys(project, settings, store).await?;
    Secrets::open(store, DEFAULT_TENANT, Arc::new(keys)).await
}

/// The keys that are in use: from the environment, else the project's own file, which is made where
/// nothing is encrypted yet.
pub(crate) async fn master_keys(project: &Project, settings: &Settings, store: &Store) -> Result<MasterKeys> {
    if let Some(text) = named_key(settings).await? {
        return Ok(MasterKeys {
            current: MasterKey::parse(&text)?,
            old: old_key(settings)?.as_ref().map(MasterKey::parse).transpose()?,
        });
    }
    let path = project.own_path(KEY_FILE);
    if !path.exists() && secrets::any(store, DEFAULT_TENANT).await? {
        return Err(Error::state("the master key is missing, and the store holds secrets")
            .with("file", path.display())
            .hint("restore the file from a backup, or name the key by WEIR_MASTER_KEY, WEIR_MASTER_KEY_FILE or WEIR_MASTER_KEY_COMMAND"));
    }
    let found = project.own_key(KEY_FILE, MasterKey::generate)?;
    if found.is_new {
        tracing::warn!(
            file = %path.display(),
            "made a master key beside the store: back it up elsewhere, for no stored secret can be read without it"
        );
    }
    let named = |error: Error| error.with("file", path.display());
    let old = project.own_key_if_any(OLD_KEY_FILE)?;
    Ok(MasterKeys {
        current: MasterKey::parse(&found.key).map_err(named)?,
        old: old.as_ref().map(MasterKey::parse).transpose()?,
    })
}

/// What the environment says of the master key.
async fn named_key(settings: &Settings) -> Result<Option<Secret>> {
    let keys = &settings.master_key;
    let named = [keys.value.is_some(), keys.file.is_some(), keys.command.is_some()];
    if named.into_iter().filter(|is_named| *is_named).count() > 1 {
        return Err(Error::spec("the master key is named more than once")
            .hint("set one of WEIR_MASTER_KEY, WEIR_MASTER_KEY_FILE and WEIR_MASTER_KEY_COMMAND"));
    }
    if let Some(file) = &keys.file {
        return read(file).map(Some);
    }
    if let Some(command) = &keys.command {
        return ask(command).await.map(Some);
    }
    Ok(keys.value.clone())
}

fn old_key(settings: &Settings) -> Result<Option<Secret>> {
    match &settings.master_key.old_file {
        Some(file) => read(file).map(Some),
        None => Ok(settings.master_key.old.clone()),
    }
}

fn read(file: &Path) -> Result<Secret> {
    let text = std::fs::read_to_string(file).map_err(|error| errors::file("read", file, error))?;
    Ok(Secret::new(text))
}

/// What a command prints, as one of a key management service.
async fn ask(command: &str) -> Result<Secret> {
    let failed = |why: &str| {
        Error::new(
            weir_protocol::ErrorKind::Auth,
            format!("WEIR_MASTER_KEY_COMMAND {why}"),
        )
        .hint("run the command by hand: it is to print 32 bytes in base64, and to end with 0")
    };
    let run = tokio::process::Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output();
    let done = tokio::time::timeout(COMMAND_TIMEOUT, run)
        .await
        .map_err(|_| failed("does not end within 30 seconds"))?
        .map_err(|error| failed("cannot be run").caused_by(error))?;
    let printed = Zeroizing::new(done.stdout);
    if !done.status.success() {
        return Err(failed("fails").with("status", done.status));
    }
    let text = std::str::from_utf8(&printed).map_err(|_| failed("prints no text"))?;
    Ok(Secret::new(text))
}

/// Wraps all data keys by a new master key, and says how many. The project's own file is exchanged;
/// a key of the environment is exchanged by whoever sets it.
pub(crate) async fn rotate_master_key(project: &Project, settings: &Settings, store: &Store) -> Result<u64> {
    let is_named = named_key(settings).await?.is_some();
    if is_named && old_key(settings)?.is_none() {
        return Err(Error::usage("the master key before the new one is not named")
            .hint("set the new key where the old one was, and the old one as WEIR_MASTER_KEY_OLD or WEIR_MASTER_KEY_OLD_FILE"));
    }
    let old = project.own_path(OLD_KEY_FILE);
    if !is_named {
        // Refuses a wrong key before anything is exchanged.
        own(project, settings, store).await?;
        exchange(&project.own_path(KEY_FILE), &old)?;
    }
    let keys = master_keys(project, settings, store).await?;
    let wrapped = secrets::rotate_master_key(store, &keys).await?;
    if !is_named {
        std::fs::remove_file(&old).map_err(|error| errors::file("remove", &old, error))?;
    }
    Ok(wrapped)
}

/// Puts a new key into the file and the one before it beside it. Begun again after it was broken off,
/// it goes on: an old key that is another than the current one means that this was done.
fn exchange(path: &Path, old: &PathBuf) -> Result<()> {
    if old.exists() {
        let (current, before) = (read(path)?, read(old)?);
        if current.expose().trim() != before.expose().trim() {
            return Ok(());
        }
    } else {
        std::fs::hard_link(path, old).map_err(|error| errors::file("write", old, error))?;
    }
    crate::project::replace_key(path, &MasterKey::generate()?)
}

/// Variables of the environment, read when they are needed and noted as other secrets are.
#[derive(Debug)]
struct EnvironmentSecrets;

#[async_trait]
impl SecretProvider for EnvironmentSecrets {
    async fn read(&self, name: &str) -> Result<Secret> {
        if name.starts_with("WEIR_") || name.starts_with("VAULT_") {
            return Err(Error::new(
                weir_protocol::ErrorKind::Denied,
                format!("{name} is weir's own and no secret of a connection"),
            )
            .hint("name another variable"));
        }
        variable(name).map(Secret::new).ok_or_else(|| {
            Error::not_found(format!("environment variable {name} is not set"))
                .hint(format!("export {name}=… before you run weir"))
        })
    }
}
