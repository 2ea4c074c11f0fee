//! Calls that wait for people, as tasks (extension `io.modelcontextprotocol/tasks`). A task is its call: there is
//! no second store, and any server of several answers for it, also after a restart.

use rmcp::ErrorData;
use rmcp::model::{
    CallToolResult, CreateTaskResult, DetailedTask, GetTaskResult, Task, TaskPayload, TaskStatus,
};
use weir_control::bundles::{self, Run};
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

/// A run of a bundle as its task.
fn task_of_run(run: &Run) -> Task {
    let status = match run.status {
        bundles::Status::Failed | bundles::Status::Compensated if run.cancelled_by.is_some() => {
            TaskStatus::Cancelled
        }
        bundles::Status::Running | bundles::Status::Compensating => TaskStatus::Working,
        bundles::Status::Parked
        | bundles::Status::Done
        | bundles::Status::Failed
        | bundles::Status::Compensated => TaskStatus::Completed,
    };
    let said = match run.status {
        bundles::Status::Running if run.waits_for.is_some() => {
            "A step waits, perhaps for a person to approve it."
        }
        bundles::Status::Running => "It is under way.",
        bundles::Status::Compensating => "What is done is taken back.",
        bundles::Status::Parked => "A person has to do something.",
        bundles::Status::Done => "It is done.",
        bundles::Status::Failed => "It had no effect.",
        bundles::Status::Compensated => "What was done was taken back.",
    };
    let changed = run.finished_at_ms.unwrap_or(run.created_at_ms);
    Task::new(&run.id, status, time(run.created_at_ms), time(changed))
        .with_status_message(said)
        .with_poll_interval_ms(LOOK_MS)
}

pub(super) fn begun_run(run: &Run) -> CreateTaskResult {
    CreateTaskResult::new(task_of_run(run))
}

fn got_run(run: &Run) -> Result<GetTaskResult, ErrorData> {
    let task = task_of_run(run);
    let payload = match task.status {
        TaskStatus::Cancelled => TaskPayload::Cancelled,
        TaskStatus::Completed => TaskPayload::Completed {
            result: written(super::bundles::answered(run, false))?,
        },
        _ => TaskPayload::Working,
    };
    Ok(GetTaskResult::new(DetailedTask::new(task, payload)))
}

/// The caller's own run of a bundle of this id, if there is one.
async fn own_run(caller: &Caller, id: &str, permission: Permission) -> Result<Option<Run>, ErrorData> {
    let target = Target::BundleRun(id.to_owned());
    if let Err(error) = caller.check(permission, &target).await {
        return match error.kind() {
            // Whether there is one that may not be seen is not told.
            ErrorKind::Denied | ErrorKind::NotFound => Ok(None),
            _ => Err(refused(&error)),
        };
    }
    match bundles::get(&caller.state.store, &caller.access, id).await {
        Ok(run) => Ok(Some(run).filter(|run| run.principal == caller.access.principal)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refused(&error)),
    }
}

pub(super) async fn get(caller: &Caller, id: &str) -> Result<GetTaskResult, ErrorData> {
    if let Some(run) = own_run(caller, id, Permission::ActionsRead).await? {
        return got_run(&run);
    }
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
    written(answers::of_call(call, false))
}

fn written(result: CallToolResult) -> Result<rmcp::model::JsonObject, ErrorData> {
    match serde_json::to_value(result) {
        Ok(serde_json::Value::Object(object)) => Ok(object),
        _ => Err(ErrorData::internal_error(
            "the call's outcome cannot be written",
            None,
        )),
    }
}

/// Takes the call back. One that has begun goes on; the task tells.
pub(super) async fn cancel(caller: &Caller, id: &str) -> Result<(), ErrorData> {
    let noted = caller
        .note_unallowed(Permission::ActionsWrite, "route:/mcp")
        .await;
    noted.map_err(|error| refused(&error))?;
    if own_run(caller, id, Permission::ActionsWrite).await?.is_some() {
        let desk = caller.bundles().map_err(|error| refused(&error))?;
        return match desk.cancel(&caller.access, id).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            Err(error) => Err(refused(&error)),
        };
    }
    own(caller, id, Permission::ActionsWrite).await?;
    match calls::take_back(&caller.state.store, &caller.access, id).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
        Err(error) => Err(refused(&error)),
    }
}

/// Calls ask their caller for nothing: there is no answer to take.
pub(super) async fn update(caller: &Caller, id: &str) -> Result<(), ErrorData> {
    if own_run(caller, id, Permission::ActionsRead).await?.is_some() {
        return Ok(());
    }
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
