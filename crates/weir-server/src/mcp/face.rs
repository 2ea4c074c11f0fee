//! What weir answers MCP clients, in both revisions of the protocol that are in use (2025-11-25 and
//! 2026-07-28). It has tools and tasks, and says of everything else that there is no such method.

use std::borrow::Cow;

use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CancelTaskParams, CompleteRequestMethod,
    CompleteRequestParams, CompleteResult, ConstString, GetTaskParams, GetTaskResult, Implementation,
    JsonObject, ListPromptsRequestMethod, ListPromptsResult, ListResourceTemplatesRequestMethod,
    ListResourceTemplatesResult, ListResourcesRequestMethod, ListResourcesResult, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, UpdateTaskParams,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use weir_protocol::{Error, Result};

use super::actions::{self, Manner};
use super::caller::{Caller, Who};
use super::connect::{self, Elicits};
use super::{answers, bundles, listing, tasks, tools};
use crate::ServerState;

/// How long a client may believe a list. What may be called is asked at every call.
const LIST_TTL_MS: u64 = 30_000;
const INSTRUCTIONS: &str = "weir stands between you and the systems of a company. Tools named <connection>.<action> \
    act on those systems, tools named bundle.<name> make several calls as one; query, list_streams and preview read their data. A call that answers with status 'waiting' needs \
    a person's approval: look at it with call_status, and never repeat it. Give idempotency_key with whatever writes, and the same \
    key when you repeat a call whose answer was lost. Errors name the next step.";

#[derive(Clone)]
pub(super) struct Face {
    state: ServerState,
    /// Who asks, where one client has the whole connection.
    fixed: Option<Who>,
    /// Calls of tools that are under way.
    work: TaskTracker,
}

impl Face {
    pub(super) fn new(state: ServerState) -> Self {
        Self {
            state,
            fixed: None,
            work: TaskTracker::new(),
        }
    }

    pub(super) fn for_one(self, who: Who) -> Self {
        Self {
            fixed: Some(who),
            ..self
        }
    }

    /// What is waited for before the process ends.
    pub(super) fn work(&self) -> TaskTracker {
        self.work.clone()
    }

    async fn caller(&self, context: &RequestContext<RoleServer>) -> Result<Caller, ErrorData> {
        Caller::of(&self.state, self.fixed.as_ref(), &context.extensions).await
    }
}

/// weir's name and version.
pub(super) fn implementation() -> Implementation {
    Implementation::new("weir", env!("CARGO_PKG_VERSION"))
}

fn no_such_method<M: ConstString, T: Send>() -> impl Future<Output = Result<T, ErrorData>> + Send {
    std::future::ready(Err(ErrorData::method_not_found::<M>()))
}

fn broken(error: &Error) -> ErrorData {
    tracing::error!(%error, "a client cannot be answered");
    let next = error.next_step().unwrap_or_default();
    ErrorData::internal_error(format!("{}; {next}", error.message()), None)
}

impl ServerHandler for Face {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tasks()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(implementation())
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let caller = self.caller(&context).await?;
        let listing = listing::listing(&caller).await.map_err(|error| broken(&error))?;
        Ok(ListToolsResult::with_all_items(listing.tools())
            .with_ttl_ms(LIST_TTL_MS)
            .with_cache_scope(CacheScope::Private))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let caller = self.caller(&context).await?;
        // Also where the client goes away: what was begun is ended, and noted.
        let work = async move { called(&caller, request, &context).await };
        let ended = self.work.spawn(work.instrument(tracing::Span::current())).await;
        ended.unwrap_or_else(|error| {
            tracing::error!(%error, "a tool broke off");
            Err(ErrorData::internal_error(
                "the tool broke off; look whether it was done, then ask again; report it",
                None,
            ))
        })
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        tasks::get(&self.caller(&context).await?, &request.task_id).await
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        tasks::update(&self.caller(&context).await?, &request.task_id).await
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        tasks::cancel(&self.caller(&context).await?, &request.task_id).await
    }

    fn complete(
        &self,
        _request: CompleteRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> impl Future<Output = Result<CompleteResult, ErrorData>> + Send + '_ {
        no_such_method::<CompleteRequestMethod, _>()
    }

    fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> impl Future<Output = Result<ListPromptsResult, ErrorData>> + Send + '_ {
        no_such_method::<ListPromptsRequestMethod, _>()
    }

    fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> impl Future<Output = Result<ListResourcesResult, ErrorData>> + Send + '_ {
        no_such_method::<ListResourcesRequestMethod, _>()
    }

    fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> impl Future<Output = Result<ListResourceTemplatesResult, ErrorData>> + Send + '_ {
        no_such_method::<ListResourceTemplatesRequestMethod, _>()
    }
}

/// One call of a tool: of an action by its own name, by `call_action`, or of one of weir's own.
async fn called(
    caller: &Caller,
    request: CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let capabilities = context.client_capabilities().unwrap_or_default();
    let manner = Manner {
        takes_tasks: capabilities.supports_tasks(),
    };
    let elicits = Elicits::of(context, &capabilities);
    connect::check_state(caller, &request).await?;
    let arguments = request.arguments.clone().unwrap_or_default();
    let own = tools::all().into_iter().find(|tool| tool.name == request.name);
    if let Some(tool) = own.filter(|tool| !tool.is_an_action() && tool.is_for(caller)) {
        let done = tool.call(caller.clone(), arguments).await;
        return Ok(match done {
            Ok(value) => answers::done(value),
            Err(error) => answers::failed(&error),
        }
        .into());
    }
    let (name, arguments) = match tools::named_action(&request.name, arguments) {
        Ok(named) => named,
        Err(error) => return Ok(answers::failed(&error).into()),
    };
    let offers = match listing::offers(caller).await {
        Ok(offers) => offers,
        Err(error) => return Ok(answers::failed(&error).into()),
    };
    let found = offers
        .iter()
        .find(|offer| actions::name(&offer.connection, &offer.action).as_deref() == Some(&name));
    let Some(offer) = found else {
        return called_bundle(caller, &name, arguments, &manner).await;
    };
    match actions::call(caller, offer, arguments, &manner).await {
        Ok(response) => Ok(response),
        Err(error) => match connect::asked(caller, &request, offer, &error, elicits).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Ok(answers::failed(&error).into()),
            Err(error) => Ok(answers::failed(&error).into()),
        },
    }
}

async fn called_bundle(
    caller: &Caller,
    name: &str,
    arguments: JsonObject,
    manner: &Manner,
) -> Result<CallToolResponse, ErrorData> {
    let offers = match bundles::offers(caller).await {
        Ok(offers) => offers,
        Err(error) => return Ok(answers::failed(&error).into()),
    };
    let Some(offer) = offers.iter().find(|offer| bundles::name(&offer.bundle) == name) else {
        return Err(no_such_tool(caller, name).await);
    };
    match bundles::call(caller, offer, arguments, manner).await {
        Ok(response) => Ok(response),
        Err(error) => Ok(answers::failed(&error).into()),
    }
}

/// Whether there is none or it may not be used is not told to who asks; the audit trail has that they asked.
async fn no_such_tool(caller: &Caller, name: &str) -> ErrorData {
    let (connection, action) = name.split_once('.').unwrap_or((name, ""));
    if let Err(error) = caller.note_refusal(connection, action).await {
        return broken(&error);
    }
    let message: Cow<'static, str> =
        format!("there is no tool '{name}' for you; tools/list names those there are").into();
    ErrorData::invalid_params(message, None)
}
