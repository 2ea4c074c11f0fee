//! What runs are made of, for workers that have no project: read from the project's files at the
//! moment a run is claimed.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use weir_control::rpc::{Lent, Papers, Supplies};
use weir_control::runs::queue::Claimed;
use weir_control::{Acting, DEFAULT_TENANT, Store};
use weir_protocol::connection::{ConnectionSpec, Tls};
use weir_protocol::oauth::AccessToken;
use weir_protocol::{Error, Result, Secret};

use crate::commands::Context;
use crate::wiring::Wiring;
use crate::writers::refuse_shared_declared;
use crate::{errors, grants};

/// What an option of the lake is called that says who may write there.
const CREDENTIAL_WORDS: [&str; 6] = ["secret", "key", "token", "password", "sas", "credential"];

pub(crate) struct ProjectSupplies {
    context: Arc<Context>,
    store: Store,
}

impl ProjectSupplies {
    pub(crate) fn new(context: Arc<Context>, store: Store) -> Self {
        Self { context, store }
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
        let lent = Lent::take_from(&mut connection, wiring.pii_key()?);
        Ok(match server {
            Some(server) => lent.with_tokens_instead_of(&server.own_secrets()),
            None => lent,
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
        let tokens = grants::tokens(&wiring, &resolved).await?.ok_or_else(|| {
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
