use schemars::JsonSchema;
use serde::Deserialize;
use weir_control::calls::{self, Call};
use weir_control::policies::Target;
use weir_control::principals::Permission;
use weir_protocol::Result;

use super::{About, Own};
use crate::mcp::caller::Caller;

pub(super) fn tool() -> Own {
    Own::new(
        &About {
            name: "call_status",
            title: "Look at a call",
            description: "How a call of an action stands: whether it still waits for a person's approval, and what came of it.",
            permission: Permission::ActionsRead,
        },
        run,
    )
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// Id of the call, as the tool that made it gave it.
    call: String,
}

async fn run(caller: Caller, input: Input) -> Result<Call> {
    let target = Target::Call(input.call.clone());
    caller.check(Permission::ActionsRead, &target).await?;
    calls::get(&caller.state.store, &caller.access, &input.call).await
}
