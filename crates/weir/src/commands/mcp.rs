use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;
use weir_control::oauth;
use weir_control::principals::{self, Kind};
use weir_control::{Access, Acting, DEFAULT_TENANT, Role, Store, bundles, calls};
use weir_protocol::Result;
use weir_server::{DEFAULT_ADDRESS, McpSettings, ServerState, Settings, Who, serve_stdio};

use super::{Context, serve};
use crate::board::catalog;
use crate::grants::ProjectServers;
use crate::vendors::ProjectVendors;
use crate::wiring::Wiring;

/// Who asks where nobody shows a token. It is an agent, so that it decides about nothing.
const PRINCIPAL: &str = "mcp-client";
/// How often it is looked for approved calls.
const POLL: Duration = Duration::from_secs(1);

/// Offer actions and data to an MCP client that starts weir itself (standard input and output)
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "The client acts as the principal of WEIR_TOKEN; without one, as 'mcp-client' with the role agent. Clients elsewhere\nuse http://HOST:7373/mcp of `weir serve`.\n\nExample, as clients are configured:\n  { \"mcpServers\": { \"weir\": { \"command\": \"weir\", \"args\": [\"--project\", \"/srv/shop\", \"mcp\"] } } }"
)]
pub(crate) struct McpArgs {}

pub(crate) async fn run(_args: &McpArgs, context: &Arc<Context>) -> Result<()> {
    let wiring = Wiring::open(context)?;
    let store = wiring.store().await?;
    let who = who(context, &store).await?;
    let stop = CancellationToken::new();
    let store = store.acting_as(Acting::default());
    let policies = Arc::new(wiring.in_force().await?);
    let vendors = Arc::new(ProjectVendors::new(context.clone(), store.clone()));
    let calls = calls::Desk::new(&store, DEFAULT_TENANT, vendors.clone(), policies.clone());
    let bundles = bundles::Desk::new(&store, DEFAULT_TENANT, calls.clone(), vendors);
    // Where no server is running, nobody else makes what was approved.
    let working = tokio::spawn(calls.clone().run(POLL, stop.clone()));
    let bundling = tokio::spawn(bundles.clone().run(POLL, stop.clone()));
    // Calls of others are among them: they go by the policies of now, not of when the client began.
    let watching = serve::watch(policies.clone(), context.clone(), store.clone(), stop.clone());
    let watching = tokio::spawn(watching);
    let address = format!("http://{DEFAULT_ADDRESS}");
    let base = context.settings.public_url.as_deref().unwrap_or(&address);
    let servers = ProjectServers {
        context: context.clone(),
        store: store.clone(),
    };
    let settings = Settings {
        policies,
        calls: Some(calls),
        bundles: Some(bundles),
        data: Some(serve::data(context, &store)),
        mcp: McpSettings {
            base: base.to_owned(),
            ..McpSettings::default()
        },
        oauth: Some(oauth::Desk::new(&store, DEFAULT_TENANT, Arc::new(servers), base)),
        catalog: catalog(&wiring.catalog),
        ..Settings::default()
    };
    let state = ServerState::new(store.clone(), settings);
    let served = Box::pin(serve_stdio(state, who)).await;
    stop.cancel();
    for part in [working, bundling, watching] {
        if let Err(error) = part.await {
            tracing::error!(%error, "what worked beside the client broke off");
        }
    }
    store.close().await;
    served
}

async fn who(context: &Context, store: &Store) -> Result<Who> {
    if let Some(token) = &context.settings.token {
        // Nobody waits for the first message to learn that the token is wrong.
        principals::authenticate(store, token.expose()).await?;
        return Ok(Who::Holder(token.clone()));
    }
    Ok(Who::Fixed(Access {
        tenant: DEFAULT_TENANT.to_owned(),
        principal: PRINCIPAL.to_owned(),
        kind: Kind::Agent,
        token: None,
        permissions: Role::Agent.permissions(),
        roles: BTreeSet::from([Role::Agent]),
        groups: BTreeSet::new(),
    }))
}
