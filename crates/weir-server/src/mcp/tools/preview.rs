use schemars::JsonSchema;
use serde::Deserialize;
use weir_control::policies::Target;
use weir_control::principals::Permission;
use weir_protocol::{Error, Result};

use super::{About, Own};
use crate::mcp::caller::Caller;
use crate::mcp::data::Preview;

const RECORDS_DEFAULT: u64 = 10;
const RECORDS_MAX: u64 = 100;

pub(super) fn tool() -> Own {
    Own::new(
        &About {
            name: "preview",
            title: "Look at records of a source",
            description: "The first records of a stream as its source has them now, personal fields masked. Nothing is stored.",
            permission: Permission::DataRead,
        },
        run,
    )
    .of_data()
    .hints(|hints| hints.open_world(true))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// Name of the connection.
    connection: String,
    /// The stream; the first one if left out.
    #[serde(default)]
    #[schemars(with = "String")]
    stream: Option<String>,
    /// So many records at most; 10 if left out.
    #[serde(default = "records_default")]
    #[schemars(range(min = 1, max = 100))]
    records: u64,
}

fn records_default() -> u64 {
    RECORDS_DEFAULT
}

async fn run(caller: Caller, input: Input) -> Result<Preview> {
    if !(1..=RECORDS_MAX).contains(&input.records) {
        let error = Error::usage(format!("records is {}", input.records));
        return Err(error.hint(format!("use 1 to {RECORDS_MAX}")));
    }
    let target = match &input.stream {
        Some(stream) => Target::Stream(input.connection.clone(), stream.clone()),
        None => Target::Connection(input.connection.clone()),
    };
    caller.check(Permission::DataRead, &target).await?;
    let stream = input.stream.as_deref();
    let found = caller
        .data()?
        .preview(&input.connection, stream, input.records)
        .await?;
    // Which one the first is, is known now: a policy may be about it.
    let target = Target::Stream(input.connection, found.stream.clone());
    caller.check(Permission::DataRead, &target).await?;
    Ok(found)
}
