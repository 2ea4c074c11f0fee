use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use weir_control::idempotency::{self, Answer, Begun};
use weir_control::policies::Target;
use weir_control::principals::Permission;
use weir_control::runs::queue::{self, RunOptions};
use weir_protocol::Result;

use super::{About, Own};
use crate::mcp::caller::Caller;

pub(super) fn tool() -> Own {
    Own::new(
        &About {
            name: "run_sync",
            title: "Sync a connection now",
            description: "Queues a run that reads a connection's streams into the lake. Look at it with run_status.",
            permission: Permission::RunsWrite,
        },
        run,
    )
    // `full` replaces what is there.
    .hints(|hints| {
        hints
            .read_only(false)
            .destructive(true)
            .idempotent(false)
            .open_world(true)
    })
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// Name of the connection.
    connection: String,
    /// Only these streams; those that the connection's file chooses if left out.
    #[serde(default)]
    streams: Vec<String>,
    /// Read everything again and replace what is there.
    #[serde(default)]
    full: bool,
    /// Queues one run however often it is sent, for a day. Use a new one for every new intent.
    #[serde(default)]
    #[schemars(with = "String")]
    idempotency_key: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Output {
    /// Id of the run.
    run: String,
    status: String,
    /// It was asked for before, under the same key.
    replayed: bool,
}

async fn run(caller: Caller, input: Input) -> Result<Output> {
    let target = Target::Connection(input.connection.clone());
    caller.check(Permission::RunsWrite, &target).await?;
    let Some(key) = input.idempotency_key.clone() else {
        return queue_one(&caller, input).await;
    };
    let store = caller.state.store.clone();
    let digest = idempotency::digest("tool", "run_sync", json!(input).to_string().as_bytes());
    let ticket = match idempotency::begin(&store, &caller.access, &key, &digest).await? {
        Begun::First(ticket) => ticket,
        Begun::Replay(answer) => {
            return Ok(Output {
                run: answer.body,
                status: "queued".to_owned(),
                replayed: true,
            });
        }
    };
    match queue_one(&caller, input).await {
        Ok(queued) => {
            let answer = Answer {
                status: 202,
                headers: Vec::new(),
                body: queued.run.clone(),
            };
            idempotency::finish(&store, &ticket, &answer).await?;
            Ok(queued)
        }
        Err(error) => {
            idempotency::release(&store, &ticket).await?;
            Err(error)
        }
    }
}

async fn queue_one(caller: &Caller, input: Input) -> Result<Output> {
    let options = RunOptions {
        streams: input.streams,
        full: input.full,
        from: None,
        to: None,
    };
    let (store, tenant) = (&caller.state.store, &caller.access.tenant);
    let run = queue::ask(store, tenant, &input.connection, options).await?;
    Ok(Output {
        status: run.status.to_string(),
        run: run.id,
        replayed: false,
    })
}
