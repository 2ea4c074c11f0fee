//! What a server does by itself: tokens are replaced before anybody needs them, and before providers
//! forget them; people are told a day before they have to consent again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use weir_protocol::Result;
use weir_protocol::oauth::AuthorizationServer;

use super::notices::{Notice, What};
use super::{Grants, rules, sql};
use crate::audit::random;
use crate::store::{Scope, Store};

/// Grants that are refreshed ahead of time in one look.
const AT_ONCE: usize = 16;

/// Who finds the authorization server of a connection, and the key of the grants.
#[async_trait]
pub trait Servers: Send + Sync {
    /// Asked for where there is a grant or somebody begins one: it needs the master key.
    async fn grants(&self) -> Result<Grants>;
    /// None where the connection has none any more.
    async fn server(&self, connection: &str) -> Result<Option<Arc<dyn AuthorizationServer>>>;
}

/// Keeps the grants of a tenant fresh until it is stopped.
pub async fn keep_fresh(
    store: Store,
    tenant: String,
    servers: Arc<dyn Servers>,
    every: Duration,
    stop: CancellationToken,
) {
    loop {
        if let Err(error) = look_round(&store, &tenant, servers.as_ref()).await {
            tracing::warn!(%error, "cannot look after the grants");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}

/// One look at all grants. Gives back how many were refreshed.
pub(super) async fn look_round(store: &Store, tenant: &str, servers: &dyn Servers) -> Result<usize> {
    let rows = store
        .read(Scope::Tenant(tenant), "look after the grants", |db, _| {
            Box::pin(async move { Ok(sql::list(db, tenant).await?) })
        })
        .await?;
    let mut due = Vec::new();
    for row in rows {
        if let Some(at_ms) = rules::is_ending(&row) {
            warn(store, tenant, &row.connection, at_ms).await?;
        }
        if rules::is_due(&row, draw()?) && due.len() < AT_ONCE {
            due.push(row);
        }
    }
    if due.is_empty() {
        return Ok(0);
    }
    let grants = servers.grants().await?;
    let asked = due.iter().map(|row| ahead(&grants, servers, row));
    let done = futures::future::join_all(asked).await;
    Ok(done.into_iter().filter(|is_done| *is_done).count())
}

/// Others need not suffer from one that fails.
async fn ahead(grants: &Grants, servers: &dyn Servers, row: &sql::Row) -> bool {
    let connection = &row.connection;
    let refreshed = async {
        let Some(server) = servers.server(connection).await? else {
            return Ok(false);
        };
        grants
            .refresh_ahead(connection, &server, row.version)
            .await
            .map(|()| true)
    };
    refreshed.await.unwrap_or_else(|error: weir_protocol::Error| {
        tracing::warn!(connection, %error, "tokens cannot be refreshed ahead of time");
        false
    })
}

async fn warn(store: &Store, tenant: &str, connection: &str, at_ms: i64) -> Result<()> {
    let notice = &Notice {
        tenant,
        connection,
        what: What::Ending { at_ms },
    };
    let (told, acting) = (&notice.told(), store.acting());
    store
        .write_alone(
            Scope::Tenant(tenant),
            connection,
            "tell that a grant ends",
            |db, _| {
                Box::pin(async move {
                    // Another server may have told it since.
                    let row = sql::get(db, tenant, connection).await?;
                    if row.as_ref().and_then(rules::is_ending).is_some() {
                        sql::warned(db, tenant, connection).await?;
                        notice.tell_in(db, acting, told).await?;
                    }
                    Ok(())
                })
            },
        )
        .await
}

/// From 0 to 1.
fn draw() -> Result<f64> {
    let mut byte = [0_u8; 1];
    random(&mut byte)?;
    Ok(f64::from(byte[0]) / 255.0)
}
