//! Tools that are tasks, in memory: the suite runs against one process. Real tasks are calls, in the store
//! (`mcp::tasks`).

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock,
    CreateTaskResult, DetailedTask, GetTaskResult, InputRequests, JsonObject, Task, TaskPayload, TaskStatus,
    UpdateTaskParams,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Context, Shared, known, said};

const JOBS_MAX: usize = 1000;
const TTL_MS: u64 = 600_000;
const LOOK_MS: u64 = 100;
const SECONDS_MAX: f64 = 30.0;

struct Job {
    created_at: String,
    changed_at: String,
    payload: TaskPayload,
    answers: BTreeMap<String, Value>,
}

#[derive(Clone, Default)]
pub(super) struct Jobs {
    all: Shared<BTreeMap<String, Job>>,
}

pub(super) fn is_job(name: &str) -> bool {
    [
        "slow_compute",
        "failing_job",
        "protocol_error_job",
        "confirm_delete",
        "multi_input",
    ]
    .contains(&name)
}

fn takes_tasks(context: &Context) -> bool {
    context
        .client_capabilities()
        .is_some_and(|capabilities| capabilities.supports_tasks())
}

/// Tools that are tasks or nothing.
pub(super) fn refuse_without_tasks(name: &str, context: &Context) -> Result<(), ErrorData> {
    if !["failing_job", "test_tool_with_task"].contains(&name) || takes_tasks(context) {
        return Ok(());
    }
    let required = ClientCapabilities::builder().enable_tasks().build();
    Err(ErrorData::missing_required_client_capability(required))
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

fn as_object(value: Value) -> JsonObject {
    match value {
        Value::Object(object) => object,
        _ => JsonObject::new(),
    }
}

fn completed(result: &CallToolResult) -> TaskPayload {
    TaskPayload::Completed {
        result: as_object(json!(result)),
    }
}

/// How long a job takes, and what comes of it.
fn outcome(request: &CallToolRequestParams) -> (Duration, TaskPayload) {
    let seconds = request
        .arguments
        .as_ref()
        .and_then(|all| all.get("seconds")?.as_f64());
    match request.name.as_ref() {
        "failing_job" => {
            let failed = CallToolResult::error(vec![ContentBlock::text("The job failed.")]);
            (Duration::from_secs(1), completed(&failed))
        }
        "protocol_error_job" => {
            let error = json!({ "code": -32603, "message": "the job broke off" });
            let payload = TaskPayload::Failed {
                error: as_object(error),
            };
            (Duration::from_millis(100), payload)
        }
        _ => {
            let seconds = seconds.unwrap_or(1.0).clamp(0.0, SECONDS_MAX);
            let done = said(format!("Computed for {seconds} seconds."));
            (Duration::from_secs_f64(seconds), completed(&done))
        }
    }
}

impl Jobs {
    /// As a task where the client takes tasks, else to its end.
    pub(super) async fn begin(
        &self,
        request: &CallToolRequestParams,
        context: &Context,
    ) -> Result<CallToolResponse, ErrorData> {
        refuse_without_tasks(&request.name, context)?;
        let is_task = takes_tasks(context);
        if let Some(input_requests) = known::asks(&request.name) {
            if !is_task {
                return Ok(said("Done without asking: the client takes no tasks.").into());
            }
            return Ok(self.put(TaskPayload::InputRequired { input_requests })?.into());
        }
        let (wait, payload) = outcome(request);
        if !is_task {
            tokio::time::sleep(wait).await;
            return at_once(payload);
        }
        let created = self.put(TaskPayload::Working)?;
        let (jobs, id) = (self.clone(), created.task.task_id.clone());
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            jobs.end(&id, payload);
        });
        Ok(created.into())
    }

    /// A task that ends by itself a moment later.
    pub(super) fn settled(&self, result: &CallToolResult) -> Result<CreateTaskResult, ErrorData> {
        let created = self.put(TaskPayload::Working)?;
        self.end(&created.task.task_id, completed(result));
        Ok(created)
    }

    fn put(&self, payload: TaskPayload) -> Result<CreateTaskResult, ErrorData> {
        let job = Job {
            created_at: now(),
            changed_at: now(),
            payload,
            answers: BTreeMap::new(),
        };
        let id = Uuid::now_v7().to_string();
        let created = CreateTaskResult::new(job.detailed(&id).task);
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= JOBS_MAX {
            return Err(ErrorData::internal_error(
                "there are too many jobs; start the server again",
                None,
            ));
        }
        all.insert(id, job);
        Ok(created)
    }

    fn end(&self, id: &str, payload: TaskPayload) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(job) = all.get_mut(id) {
            job.end(payload);
        }
    }

    fn with<T>(&self, id: &str, work: impl FnOnce(&mut Job) -> T) -> Result<T, ErrorData> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all.get_mut(id).map(work);
        found.ok_or_else(|| ErrorData::invalid_params(format!("there is no task '{id}'"), None))
    }

    pub(super) fn get(&self, id: &str) -> Result<GetTaskResult, ErrorData> {
        self.with(id, |job| GetTaskResult::new(job.detailed(id)))
    }

    pub(super) fn cancel(&self, id: &str) -> Result<(), ErrorData> {
        self.with(id, |job| job.end(TaskPayload::Cancelled))
    }

    pub(super) fn update(&self, request: &UpdateTaskParams) -> Result<(), ErrorData> {
        self.with(&request.task_id, |job| job.take(request))
    }
}

fn at_once(payload: TaskPayload) -> Result<CallToolResponse, ErrorData> {
    match payload {
        TaskPayload::Completed { result } => serde_json::from_value::<CallToolResult>(Value::Object(result))
            .map(Into::into)
            .map_err(|error| ErrorData::internal_error(error.to_string(), None)),
        _ => Err(ErrorData::internal_error("the job broke off", None)),
    }
}

impl Job {
    fn detailed(&self, id: &str) -> DetailedTask {
        let task = Task::new(id, TaskStatus::Working, &self.created_at, &self.changed_at)
            .with_ttl_ms(TTL_MS)
            .with_poll_interval_ms(LOOK_MS);
        DetailedTask::new(task, self.payload.clone())
    }

    /// One that has ended stays as it is.
    fn end(&mut self, payload: TaskPayload) {
        if !self.payload.status().is_terminal() {
            self.payload = payload;
            self.changed_at = now();
        }
    }

    fn take(&mut self, request: &UpdateTaskParams) {
        let TaskPayload::InputRequired { input_requests } = &self.payload else {
            return;
        };
        let mut left: InputRequests = input_requests.clone();
        for (key, answer) in &request.input_responses {
            if left.remove(key).is_some() {
                self.answers.insert(key.clone(), answer.clone());
            }
        }
        let payload = if left.is_empty() {
            completed(&said(format!("Answered: {}", json!(self.answers))))
        } else {
            TaskPayload::InputRequired { input_requests: left }
        };
        self.end(payload);
    }
}
