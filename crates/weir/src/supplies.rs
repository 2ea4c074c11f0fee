//! What runs are made of, for workers that have no project: read from the project's files at the
//! moment a run is claimed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use weir_control::rpc::{Lent, Papers, Supplies};
use weir_control::runs::queue::Claimed;
use weir_control::{Acting, DEFAULT_TENANT, Store};
use weir_protocol::connection::{ConnectionSpec, Tls};
use weir_protocol::oauth::{AccessToken, AccessTokens};
use weir_protocol::{Error, Result, Secret};

use crate::commands::Context;
use crate::wiring::Wiring;
use crate::writers::refuse_shared_declared;
use crate::{errors, grants};

/// What an option of the lake is called that says who may write there.
const CREDENTIAL_WORDS: [&str; 6] = ["secret", "key", "token", "password", "sas", "credential"];

/// Of which account tokens are, and who gives them.
type Own = (String, Arc<dyn AccessTokens>);

pub(crate) struct ProjectSupplies {
    context: Arc<Context>,
    store: Store,
    /// By connection: of whose account they are, and the tokens that workers elsewhere were given.
    own: Mutex<BTreeMap<String, Own>>,
}

impl ProjectSupplies {
    pub(crate) fn new(context: Arc<Context>, store: Store) -> Self {
        Self {
            context,
            store,
            own: Mutex::default(),
        }
    }

    /// The tokens of a connection that nobody consents for. Kept, so that a provider is not asked for each worker.
    async fn own_tokens(
        &self,
        wiring: &Wiring,
        resolved: &ConnectionSpec,
    ) -> Result<Option<Arc<dyn AccessTokens>>> {
        let connector = wiring.connector(resolved)?;
        let Some(made) = crate::engine::own_tokens(connector, resolved)? else {
            return Ok(None);
        };
        let account = format!("{} {}", connector.spec.version, wiring.account(resolved).await?);
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = own.entry(resolved.connection.clone());
        let kept = kept.or_insert_with(|| (account.clone(), made.tokens.clone()));
        if kept.0 != account {
            *kept = (account, made.tokens);
        }
        Ok(Some(kept.1.clone()))
    }

    /// Opened anew each time, so that an edited file counts from the next run on.
    async fn open(&self, claimed: &Claimed, store: Store) -> Result<(Wiring, ConnectionSpec)> {
        refuse_without_files(claimed)?;
        let wiring = Wiring::open(&self.context)?.over(store);
        let connection = wiring.connection(&claimed.connection)?;
        let wiring = wiring.with_production(&connection.connector).await?;
        Ok((wiring, connection))
    }
}

/// The files of a project are those of one tenant: another one's runs are not carried out with them.
pub(crate) fn refuse_without_files(claimed: &Claimed) -> Result<()> {
    if claimed.tenant == DEFAULT_TENANT {
        return Ok(());
    }
    Err(
        Error::not_found("this server has no files of the tenant's connections")
            .with("connection", &claimed.connection)
            .hint("ask a server that has them"),
    )
}

#[async_trait]
impl Supplies for ProjectSupplies {
    async fn papers(&self, claimed: &Claimed) -> Result<Papers> {
        let (wiring, mut connection) = self.open(claimed, self.store.clone()).await?;
        refuse_shared_declared(&wiring.project, &wiring.catalog, &connection)?;
        let connector = wiring.connector(&connection)?;
        let files = connector.origin.to_carry(connector.key())?;
        let roots_pem = match std::mem::take(&mut connection.tls) {
            Tls { ca_file: Some(file) } => {
                let pem = std::fs::read_to_string(&file);
                Some(pem.map_err(|error| errors::file("read", &file, error))?)
            }
            Tls { ca_file: None } => None,
        };
        // What is taken out is lent apart.
        Lent::take_from(&mut connection, Secret::new(""));
        Ok(Papers {
            connection,
            connector: files,
            lake_location: wiring.project.lake_location(),
            lake_options: without_credentials(wiring.project.lake_options()),
            roots_pem,
        })
    }

    async fn lend(&self, claimed: &Claimed, acting: Acting) -> Result<Lent> {
        let (wiring, connection) = self.open(claimed, self.store.acting_as(acting)).await?;
        let mut connection = wiring.resolved(&connection).await?;
        let connector = wiring.connector(&connection)?;
        let server = crate::engine::authorization_server(connector, &connection)?;
        let own = crate::engine::own_tokens(connector, &connection)?;
        let account = wiring.account(&connection).await?;
        let mut lent = Lent::take_from(&mut connection, wiring.pii_key()?);
        lent.account = account;
        Ok(match (server, own) {
            (Some(server), _) => lent.with_tokens_instead_of(&server.own_secrets()),
            (None, Some(own)) => lent.with_tokens_instead_of(&own.made_from),
            (None, None) => lent,
        })
    }

    async fn token(
        &self,
        claimed: &Claimed,
        acting: Acting,
        refused: Option<&Secret>,
    ) -> Result<AccessToken> {
        let (wiring, connection) = self.open(claimed, self.store.acting_as(acting)).await?;
        let resolved = wiring.resolved(&connection).await?;
        let tokens = match grants::tokens(&wiring, &resolved).await? {
            None => self.own_tokens(&wiring, &resolved).await?,
            kept => kept,
        };
        let tokens = tokens.ok_or_else(|| {
            Error::not_found("the connection has no tokens that are kept")
                .with("connection", &claimed.connection)
                .hint("its file or connector was changed under way: the next run goes by it")
        })?;
        tokens.token(refused).await
    }
}

/// Where the lake is, without who may write there: each worker has rights of its own.
fn without_credentials(mut options: BTreeMap<String, String>) -> BTreeMap<String, String> {
    options.retain(|name, _| {
        let name = name.to_ascii_lowercase();
        !CREDENTIAL_WORDS.iter().any(|word| name.contains(word))
    });
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_open_the_lake_stay_at_home() {
        let options = [
            ("aws_region", "eu"),
            ("AWS_ENDPOINT_URL", "http://x"),
            ("aws_allow_http", "true"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("aws_access_key_id", "k"),
            ("aws_session_token", "t"),
            ("azure_storage_sas_token", "t"),
            ("google_service_account_key", "k"),
        ];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let kept: Vec<String> = without_credentials(options.into()).into_keys().collect();
        assert_eq!(kept, ["AWS_ENDPOINT_URL", "aws_allow_http", "aws_region"]);
    }
}
