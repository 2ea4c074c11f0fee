use std::net::SocketAddr;

use clap::Args;
use weir_control::DEFAULT_TENANT;
use weir_protocol::Result;
use weir_server::{DEFAULT_ADDRESS, ServerState};

use super::Context;
use crate::interrupt;
use crate::output::line;
use crate::wiring::Wiring;

/// Serve runs and connections over HTTP, until Ctrl-C
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir serve --listen 127.0.0.1:7373")]
pub(crate) struct ServeArgs {
    /// Address and port; other machines can reach it only if you name one of theirs to reach
    #[arg(long, default_value_t = DEFAULT_ADDRESS)]
    listen: SocketAddr,
}

pub(crate) async fn run(args: &ServeArgs, context: &Context) -> Result<()> {
    let store = Wiring::open(context)?.store().await?;
    let listener = weir_server::bind(args.listen).await?;
    let stop = interrupt::token();
    line(format!("http://{}", listener.local_addr().unwrap_or(args.listen)));
    let state = ServerState {
        store,
        tenant: DEFAULT_TENANT.to_owned(),
    };
    weir_server::serve(listener, state, stop.cancelled_owned()).await
}
