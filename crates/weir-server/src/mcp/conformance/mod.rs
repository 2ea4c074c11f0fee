//! The fixtures of the official conformance suite (`weir serve --mcp-conformance`, `make conformance`), behind the
//! transport, the checks and the store that real tools are behind. They show nothing of a tenant, and need no
//! token, as the suite has none.

mod jobs;
mod known;
mod rounds;
mod talk;

use std::sync::Arc;

use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams,
    CompleteRequestParams, CompleteResult, CompletionInfo, ContentBlock, GetPromptRequestParams,
    GetPromptResponse, GetTaskParams, GetTaskResult, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams,
    ReadResourceResponse, ServerCapabilities, ServerConfig, SubscribeRequestParams, SubscriptionFilter, Tool,
    UnsubscribeRequestParams, UpdateTaskParams,
};
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::json;
use tokio::sync::broadcast;
use weir_control::{Access, DEFAULT_TENANT, Store};

use super::face::implementation;
use crate::ServerState;
use jobs::Jobs;

/// Changes that nobody has taken yet.
const CHANGES_MAX: usize = 16;

/// What the suite has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Tools,
    Prompts,
}

#[derive(Clone)]
pub(super) struct Fixtures {
    store: Store,
    access: Access,
    jobs: Jobs,
    changes: broadcast::Sender<Change>,
}

type Context = RequestContext<RoleServer>;

impl Fixtures {
    pub(super) fn new(state: &ServerState) -> Self {
        let mut access = Access::command_line(DEFAULT_TENANT);
        "conformance".clone_into(&mut access.principal);
        access.permissions.clear();
        access.roles.clear();
        Self {
            store: state.store.clone(),
            access,
            jobs: Jobs::default(),
            changes: broadcast::Sender::new(CHANGES_MAX),
        }
    }

    fn tell(&self, change: Change) -> CallToolResult {
        // Nobody may be listening.
        let told = self.changes.send(change).unwrap_or_default();
        said(format!("{told} listeners were told."))
    }

    async fn called(
        &self,
        request: CallToolRequestParams,
        context: &Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = request.name.as_ref();
        if let Some(answer) = known::answer(name) {
            return Ok(answer.into());
        }
        if jobs::is_job(name) {
            return self.jobs.begin(&request, context).await;
        }
        if let Some(round) = known::rounds(name) {
            return self.asked(&request, &round, context).await;
        }
        Ok(match name {
            "greet" => said(format!("Hello, {}!", talk::argument(&request, "name"))),
            "test_trigger_tool_change" => self.tell(Change::Tools),
            "test_trigger_prompt_change" => self.tell(Change::Prompts),
            _ => return talk::call(&request, context).await.map(Into::into),
        }
        .into())
    }
}

fn said(text: impl Into<String>) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

impl ServerHandler for Fixtures {
    #[expect(deprecated, reason = "the older revision has logging")]
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_completions()
            .enable_logging()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_tasks()
            .build();
        ServerConfig::new(capabilities).with_server_info(implementation())
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        known::tools().into_iter().find(|tool| tool.name == name)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(known::tools()).with_cache_scope(CacheScope::Private))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        self.called(request, &context).await
    }

    async fn get_task(&self, request: GetTaskParams, _context: Context) -> Result<GetTaskResult, ErrorData> {
        self.jobs.get(&request.task_id)
    }

    async fn update_task(&self, request: UpdateTaskParams, _context: Context) -> Result<(), ErrorData> {
        self.jobs.update(&request)
    }

    async fn cancel_task(&self, request: CancelTaskParams, _context: Context) -> Result<(), ErrorData> {
        self.jobs.cancel(&request.task_id)
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        let all = ListResourcesResult::with_all_items(known::list("resources"));
        Ok(all.with_cache_scope(CacheScope::Private))
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let all = ListResourceTemplatesResult::with_all_items(known::list("templates"));
        Ok(all.with_cache_scope(CacheScope::Private))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let found = known::content(&request.uri).ok_or_else(|| {
            ErrorData::resource_not_found("there is no such resource", Some(json!({ "uri": request.uri })))
        })?;
        Ok(found.into())
    }

    async fn subscribe(&self, _request: SubscribeRequestParams, _context: Context) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(
        &self,
        _request: UnsubscribeRequestParams,
        _context: Context,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    #[expect(deprecated, reason = "the older revision has it")]
    async fn set_level(
        &self,
        _request: rmcp::model::SetLevelRequestParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        if talk::is_new(&context) {
            return Err(ErrorData::method_not_found::<rmcp::model::SetLevelRequestMethod>());
        }
        Ok(())
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        let all = ListPromptsResult::with_all_items(known::list("prompts"));
        Ok(all.with_cache_scope(CacheScope::Private))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        if let Some(round) = known::rounds(&request.name) {
            return self.prompted(&request, &round, &context).await;
        }
        let arguments = request.arguments.unwrap_or_default();
        let found = known::prompt(&request.name, &arguments);
        found
            .map(Into::into)
            .ok_or_else(|| ErrorData::invalid_params("there is no such prompt", None))
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _context: Context,
    ) -> Result<CompleteResult, ErrorData> {
        let fitting = ["paris", "park", "party"]
            .into_iter()
            .filter(|word| word.starts_with(&request.argument.value));
        let info = CompletionInfo::new(fitting.map(ToOwned::to_owned).collect());
        info.map(CompleteResult::new)
            .map_err(|error| ErrorData::internal_error(error, None))
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut changes = self.changes.subscribe();
        loop {
            let change = tokio::select! {
                () = context.cancelled() => return Ok(()),
                change = changes.recv() => change,
            };
            let sent = match change {
                Ok(Change::Tools) if context.accepted().tools_list_changed == Some(true) => {
                    context.sink().notify_tool_list_changed().await
                }
                Ok(Change::Prompts) if context.accepted().prompts_list_changed == Some(true) => {
                    context.sink().notify_prompt_list_changed().await
                }
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => continue,
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            };
            if sent.is_err() {
                return Ok(());
            }
        }
    }
}

/// Shared by all requests.
type Shared<T> = Arc<std::sync::Mutex<T>>;
