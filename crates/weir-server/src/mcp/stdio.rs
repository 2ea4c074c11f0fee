//! The same over standard input and output, for a client that starts weir itself.

use rmcp::ServiceExt as _;
use weir_protocol::{Error, Result};

use super::caller::Who;
use super::face::Face;
use crate::ServerState;

/// Answers one client until it closes standard input, and ends what it asked for by then. Everything is done as
/// `who`, as far as the store lets them at each message.
pub async fn serve_stdio(state: ServerState, who: Who) -> Result<()> {
    let broke = |error: &dyn std::fmt::Display| {
        Error::usage(format!("the client cannot be understood: {error}")).hint(
            "speak MCP (JSON-RPC, a message a line) on standard input; docs/guides/agents.md shows a client",
        )
    };
    let face = Face::new(state).for_one(who);
    let work = face.work();
    let begun = Box::pin(face.serve(rmcp::transport::stdio())).await;
    let running = begun.map_err(|error| broke(&error))?;
    let served = running.waiting().await;
    // What was sent to a vendor is ended and noted, also where nobody hears the answer any more. Each has a deadline.
    work.close();
    work.wait().await;
    served.map(drop).map_err(|error| broke(&error))
}
