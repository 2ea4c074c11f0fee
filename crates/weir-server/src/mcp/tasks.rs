//! Calls that wait for people, as tasks (extension `io.modelcontextprotocol/tasks`). A task is its call: there is
//! no second store, and any server of several answers for it, also after a restart.

use rmcp::ErrorData;
use rmcp::model::{CreateTaskResult, DetailedTask, GetTaskResult, Task, TaskPayload, TaskStatus};
use weir_control::calls::{self, Call, Status};
use weir_control::policies::Target;
use weir_control::principals::Permission;
use weir_protocol::ErrorKind;

use super::answers;
use super::caller::Caller;

/// How often a client is asked to look, at most.
const LOOK_MS: u64 = 2_000;

fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |time| time.to_string())
}

fn task(call: &Call) -> Task {
    let changed = call.finished_at_ms.or(call.began_at_ms);
    let status = match call.status {
        _ if call.is_taken_back() => TaskStatus::Cancelled,
        // What came of an uncertain one is found out, or a person says it: it has no end before that.
        Status::Waiting | Status::Ready | Status::Running | Status::Uncertain => TaskStatus::Working,
        Status::Done | Status::Failed | Status::Refused => TaskStatus::Completed,
    };
    let said = match call.status {
        Status::Waiting => "A person has to approve it; nothing was sent yet.",
        Status::Ready => "It was approved, and is about to begin.",
        Status::Running => "It is under way.",
        Status::Done => "It is done.",
        Status::Failed => "It had no effect.",
        Status::Uncertain => "It may have had its effect: that is being found out. Do not call it again.",
        Status::Refused => "Nothing was sent.",
    };
    Task::new(
        &call.id,
        status,
        time(call.created_at_ms),
        time(changed.unwrap_or(call.created_at_ms)),
    )
    .with_status_message(said)
    .with_poll_interval_ms(LOOK_MS)
}

pub(super) fn begun(call: &Call) -> CreateTaskResult {
    CreateTaskResult::new(task(call))
}

pub(super) async fn get(caller: &Caller, id: &str) -> Result<GetTaskResult, ErrorData> {
    let call = own(caller, id, Permission::ActionsRead).await?;
    let task = task(&call);
    let payload = match task.status {
        TaskStatus::Cancelled => TaskPayload::Cancelled,
        TaskStatus::Completed => TaskPayload::Completed {
            result: answered(&call)?,
        },
        _ => TaskPayload::Working,
    };
    Ok(GetTaskResult::new(DetailedTask::new(task, payload)))
}

fn answered(call: &Call) -> Result<rmcp::model::JsonObject, ErrorData> {
    let value = serde_json::to_value(answers::of_call(call, false));
    match value {
        Ok(serde_json::Value::Object(object)) => Ok(object),
        _ => Err(ErrorData::internal_error(
            "the call's outcome cannot be written",
            None,
        )),
    }
}

/// Takes the call back. One that has begun goes on; the task tells.
pub(super) async fn cancel(caller: &Caller, id: &str) -> Result<(), ErrorData> {
    own(caller, id, Permission::ActionsWrite).await?;
    match calls::take_back(&caller.state.store, &caller.access, id).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
        Err(error) => Err(refused(&error)),
    }
}

/// Calls ask their caller for nothing: there is no answer to take.
pub(super) async fn update(caller: &Caller, id: &str) -> Result<(), ErrorData> {
    own(caller, id, Permission::ActionsRead).await.map(drop)
}

/// Only what the caller began: seeing others' calls, as who approves does, is no right to their tasks.
async fn own(caller: &Caller, id: &str, permission: Permission) -> Result<Call, ErrorData> {
    let target = Target::Call(id.to_owned());
    let allowed = caller.check(permission, &target).await;
    allowed.map_err(|error| match error.kind() {
        // Whether there is one that may not be seen is not told.
        ErrorKind::Denied => unknown(id),
        _ => refused(&error),
    })?;
    let found = calls::get(&caller.state.store, &caller.access, id).await;
    match found {
        Ok(call) if call.principal == caller.access.principal => Ok(call),
        Ok(_) => Err(unknown(id)),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(unknown(id)),
        Err(error) => Err(refused(&error)),
    }
}

fn unknown(id: &str) -> ErrorData {
    ErrorData::invalid_params(format!("there is no task '{id}'"), None)
}

fn refused(error: &weir_protocol::Error) -> ErrorData {
    tracing::warn!(%error, "a task cannot be told of");
    ErrorData::internal_error(error.message().to_owned(), None)
}
