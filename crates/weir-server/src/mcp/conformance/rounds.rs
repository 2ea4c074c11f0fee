//! Tools and a prompt that ask the client before they answer, in as many rounds as they need. What is kept
//! between rounds lies in the store, as it does for real calls.

use std::collections::BTreeMap;

use rmcp::ErrorData;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ClientCapabilities, GetPromptRequestParams, GetPromptResponse,
    GetPromptResult, InputRequest, InputRequests, InputRequiredResult, InputResponses, PromptMessage, Role,
};
use serde_json::{Value, json};
use weir_control::questions;
use weir_protocol::ErrorKind;

use super::known::Rounds;
use super::{Context, Fixtures, jobs, said};

/// What came of one request.
enum Came {
    Ask(InputRequiredResult),
    Answered(BTreeMap<String, Value>),
}

impl Fixtures {
    pub(super) async fn asked(
        &self,
        request: &CallToolRequestParams,
        rounds: &Rounds,
        context: &Context,
    ) -> Result<CallToolResponse, ErrorData> {
        jobs::refuse_without_tasks(&request.name, context)?;
        let given = (request.input_responses.as_ref(), request.request_state.as_deref());
        Ok(match self.round(&request.name, rounds, given, context).await? {
            Came::Ask(asked) => asked.into(),
            Came::Answered(answers) if request.name == "test_tool_with_task" => {
                self.jobs.settled(&said(text(&rounds.says, &answers)))?.into()
            }
            Came::Answered(answers) => said(text(&rounds.says, &answers)).into(),
        })
    }

    pub(super) async fn prompted(
        &self,
        request: &GetPromptRequestParams,
        rounds: &Rounds,
        context: &Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        let given = (request.input_responses.as_ref(), request.request_state.as_deref());
        Ok(match self.round(&request.name, rounds, given, context).await? {
            Came::Ask(asked) => asked.into(),
            Came::Answered(answers) => {
                let text = text(&rounds.says, &answers);
                GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)]).into()
            }
        })
    }

    async fn round(
        &self,
        name: &str,
        rounds: &Rounds,
        (given, state): (Option<&InputResponses>, Option<&str>),
        context: &Context,
    ) -> Result<Came, ErrorData> {
        let capabilities = context.client_capabilities().unwrap_or_default();
        let (mut nth, mut answers) = match state {
            Some(shown) => self.back(name, shown).await?,
            None => (0, BTreeMap::new()),
        };
        // A state that should be there and is not leads back to the beginning.
        let given = given.filter(|_| state.is_some() || !rounds.keeps_state);
        while let Some(asked) = rounds.rounds.get(nth) {
            let wanted = possible(asked, &capabilities)?;
            let found = given.map(|given| fitting(&wanted, given)).unwrap_or_default();
            let is_answered = found.len() == wanted.len();
            answers.extend(found);
            if !is_answered {
                return self
                    .ask(name, rounds, wanted, (nth, &answers))
                    .await
                    .map(Came::Ask);
            }
            nth += 1;
        }
        Ok(Came::Answered(answers))
    }

    async fn ask(
        &self,
        name: &str,
        rounds: &Rounds,
        wanted: InputRequests,
        (nth, answers): (usize, &BTreeMap<String, Value>),
    ) -> Result<InputRequiredResult, ErrorData> {
        if !rounds.keeps_state {
            return Ok(InputRequiredResult::from_input_requests(wanted));
        }
        let kept = json!({ "round": nth, "answers": answers });
        let shown = questions::ask(&self.store, &self.access, name, &kept).await;
        let shown = shown.map_err(|error| broken(&error))?;
        Ok(InputRequiredResult::new(
            Some(wanted),
            Some(shown.expose().to_owned()),
        ))
    }

    async fn back(&self, name: &str, shown: &str) -> Result<(usize, BTreeMap<String, Value>), ErrorData> {
        let kept = questions::take(&self.store, &self.access, name, shown).await;
        let kept = kept.map_err(|error| match error.kind() {
            ErrorKind::Denied => ErrorData::invalid_params(error.message().to_owned(), None),
            _ => broken(&error),
        })?;
        let nth = kept["round"].as_u64().and_then(|nth| usize::try_from(nth).ok());
        let answers = serde_json::from_value(kept["answers"].clone()).unwrap_or_default();
        Ok((nth.unwrap_or_default(), answers))
    }
}

fn broken(error: &weir_protocol::Error) -> ErrorData {
    tracing::error!(%error, "a fixture's state cannot be kept");
    ErrorData::internal_error(error.message().to_owned(), None)
}

/// Only what the client says that it can be asked for.
fn possible(asked: &InputRequests, capabilities: &ClientCapabilities) -> Result<InputRequests, ErrorData> {
    let can = |request: &InputRequest| match request {
        InputRequest::CreateMessage(_) => capabilities.sampling.is_some(),
        InputRequest::Elicitation(_) => capabilities.elicitation.is_some(),
        InputRequest::ListRoots(_) => capabilities.roots.is_some(),
        _ => false,
    };
    let possible: InputRequests = asked
        .iter()
        .filter(|(_, request)| can(request))
        .map(|(key, request)| (key.clone(), request.clone()))
        .collect();
    if possible.is_empty() {
        let mut required = ClientCapabilities::default();
        required.elicitation = Some(rmcp::model::ElicitationCapability::default());
        return Err(ErrorData::missing_required_client_capability(required));
    }
    Ok(possible)
}

/// Answers to what was asked, of the right form. Whatever else came is left out.
fn fitting(wanted: &InputRequests, given: &InputResponses) -> BTreeMap<String, Value> {
    let fits = |request: &InputRequest, answer: &Value| match request {
        InputRequest::CreateMessage(_) => answer.get("content").is_some(),
        InputRequest::Elicitation(_) => answer["action"] == "accept" && answer["content"].is_object(),
        InputRequest::ListRoots(_) => answer["roots"].is_array(),
        _ => false,
    };
    let found = wanted.iter().filter_map(|(key, request)| {
        let answer = given.get(key).filter(|answer| fits(request, answer))?;
        Some((key.clone(), answer.clone()))
    });
    found.collect()
}

fn text(says: &str, answers: &BTreeMap<String, Value>) -> String {
    format!("{says}: {}", json!(answers))
}
