use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_control::Run;
use weir_control::policies::Target;
use weir_control::principals::Permission;
use weir_control::runs::{self, Totals};
use weir_protocol::Result;

use super::{About, Own};
use crate::mcp::caller::Caller;

pub(super) fn tool() -> Own {
    Own::new(
        &About {
            name: "run_status",
            title: "Look at a run",
            description: "How a run stands: its status, what it read and landed by stream, and why it failed.",
            permission: Permission::RunsRead,
        },
        run,
    )
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// Id of the run, as run_sync gives it.
    run: String,
}

#[derive(Serialize, JsonSchema)]
struct Output {
    run: Run,
    totals: Totals,
}

async fn run(caller: Caller, input: Input) -> Result<Output> {
    caller
        .check(Permission::RunsRead, &Target::Run(input.run.clone()))
        .await?;
    let run = runs::get(&caller.state.store, &caller.access.tenant, &input.run).await?;
    Ok(Output {
        totals: run.totals(),
        run,
    })
}
