//! Tools that speak to the client while they work.

#![expect(deprecated, reason = "the older revision has logging and sampling")]

use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ContentBlock, CreateMessageRequestParams,
    ElicitRequestParams, LoggingLevel, LoggingMessageNotificationParam, ProgressNotificationParam,
    ProtocolVersion, SamplingCapability, SamplingMessage,
};
use serde_json::json;

use super::{Context, known, said};

/// Between two things that a tool tells; the suite wants to see them come one by one.
const STEP: Duration = Duration::from_millis(50);

pub(super) fn is_new(context: &Context) -> bool {
    let newer = ProtocolVersion::V_2026_07_28;
    context
        .protocol_version()
        .is_some_and(|version| version.as_str() >= newer.as_str())
}

pub(super) fn argument(request: &CallToolRequestParams, name: &str) -> String {
    let arguments = request.arguments.as_ref();
    let found = arguments.and_then(|arguments| arguments.get(name)?.as_str());
    found.unwrap_or_default().to_owned()
}

pub(super) async fn call(
    request: &CallToolRequestParams,
    context: &Context,
) -> Result<CallToolResult, ErrorData> {
    match request.name.as_ref() {
        "test_tool_with_progress" => progress(context).await,
        "test_tool_with_logging" => log(context, LoggingLevel::Info).await,
        "test_logging_tool" => match context.meta.log_level() {
            Some(level) => log(context, level).await,
            None => Ok(said("Nobody asked for logs.")),
        },
        "test_reconnection" => {
            tokio::time::sleep(2 * STEP).await;
            Ok(said("Reconnection test completed"))
        }
        "test_missing_capability" => sampler_only(context),
        "test_sampling" => sample(request, context).await,
        name => match known::elicitation(name) {
            Some(properties) => elicit(request, &properties, context).await,
            None => Err(ErrorData::invalid_params(
                format!("there is no tool '{name}'"),
                None,
            )),
        },
    }
}

async fn progress(context: &Context) -> Result<CallToolResult, ErrorData> {
    for step in [0.0, 50.0, 100.0] {
        if let Some(token) = context.meta.get_progress_token() {
            let told = ProgressNotificationParam::new(token, step).with_total(100.0);
            context
                .peer
                .notify_progress(told)
                .await
                .map_err(|error| gone(&error))?;
        }
        tokio::time::sleep(STEP).await;
    }
    Ok(said("Progress test completed"))
}

async fn log(context: &Context, level: LoggingLevel) -> Result<CallToolResult, ErrorData> {
    for text in [
        "Tool execution started",
        "Tool processing data",
        "Tool execution completed",
    ] {
        let told = LoggingMessageNotificationParam::new(level, json!(text));
        let sent = context.peer.notify_logging_message(told).await;
        sent.map_err(|error| gone(&error))?;
        tokio::time::sleep(STEP).await;
    }
    Ok(said("Logging test completed"))
}

fn sampler_only(context: &Context) -> Result<CallToolResult, ErrorData> {
    let capabilities = context.client_capabilities().unwrap_or_default();
    if capabilities.sampling.is_some() {
        return Ok(said("The client can sample."));
    }
    let mut required = ClientCapabilities::default();
    required.sampling = Some(SamplingCapability::default());
    Err(ErrorData::missing_required_client_capability(required))
}

async fn sample(request: &CallToolRequestParams, context: &Context) -> Result<CallToolResult, ErrorData> {
    let message = SamplingMessage::user_text(argument(request, "prompt"));
    let asked = CreateMessageRequestParams::new(vec![message], 100);
    Ok(match context.peer.create_message(asked).await {
        Ok(answer) => {
            let text = answer
                .message
                .content
                .first()
                .and_then(|content| content.as_text());
            let text = text.map(|text| text.text.clone()).unwrap_or_default();
            said(format!("LLM response: {text}"))
        }
        Err(error) => refused(&error),
    })
}

async fn elicit(
    request: &CallToolRequestParams,
    properties: &serde_json::Value,
    context: &Context,
) -> Result<CallToolResult, ErrorData> {
    let schema = json!({ "type": "object", "properties": properties });
    let requested_schema = serde_json::from_value(schema)
        .map_err(|error| ErrorData::internal_error(format!("the form cannot be read: {error}"), None))?;
    let message = match argument(request, "message") {
        empty if empty.is_empty() => "Please fill this in".to_owned(),
        message => message,
    };
    let asked = ElicitRequestParams::FormElicitationParams {
        meta: None,
        message,
        requested_schema,
    };
    Ok(match context.peer.create_elicitation(asked).await {
        Ok(answer) => {
            let content = answer.content.unwrap_or_default();
            said(format!(
                "Elicitation completed: action={}, content={content}",
                json!(answer.action).as_str().unwrap_or_default()
            ))
        }
        Err(error) => refused(&error),
    })
}

fn refused(error: &dyn std::fmt::Display) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(format!(
        "The client could not be asked: {error}"
    ))])
}

fn gone(error: &dyn std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(format!("the client cannot be told: {error}"), None)
}
