//! The same over standard input and output, for a client that starts weir itself.

use rmcp::ServiceExt as _;
use weir_control::{Access, Acting};
use weir_protocol::{Error, Result};

use super::face::Face;
use crate::ServerState;

/// Answers one client until it closes standard input. Everything is done as `access`.
pub async fn serve_stdio(state: ServerState, access: Access, acting: Acting) -> Result<()> {
    let broke = |error: &dyn std::fmt::Display| {
        Error::usage(format!("the client cannot be understood: {error}")).hint(
            "speak MCP (JSON-RPC, a message a line) on standard input; docs/guides/agents.md shows a client",
        )
    };
    let face = Face::new(state).for_one(access, acting);
    let running = face
        .serve(rmcp::transport::stdio())
        .await
        .map_err(|error| broke(&error))?;
    running.waiting().await.map(drop).map_err(|error| broke(&error))
}
