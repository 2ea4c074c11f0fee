use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_control::policies::{self, Case, Standing, Tried, Version};
use weir_control::principals::Permission;
use weir_protocol::Error;

use super::Endpoint;
use super::page::{Page, Paging};
use crate::input::{self, Asked, Caller, ForCaller};
use crate::problem::Problem;

/// Each is decided while somebody waits.
const CASES_MAX: usize = 200;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/policies",
            Permission::AccessRead,
            "The policies in force, and what is wrong with newer ones",
            show,
        )
        .answers::<Standing>(200),
        Endpoint::get(
            "/policies/versions",
            Permission::AccessRead,
            "Every version of the policies that was in force",
            versions,
        )
        .query::<Paging>()
        .answers::<Page<Version>>(200),
        Endpoint::post(
            "/policies/test",
            Permission::AccessRead,
            "Decide cases by the policies in force, and say which are not decided as expected; nothing is changed",
            test,
        )
        .body::<Cases>()
        .answers::<Outcome>(200),
    ]
}

/// Requests that somebody might make, as `policies/*.test.yaml` have them.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Cases {
    #[schemars(length(min = 1, max = 200))]
    cases: Vec<Case>,
}

#[derive(Serialize, JsonSchema)]
struct Outcome {
    /// Of the policies that decided.
    version: String,
    /// Whether all were decided as expected.
    is_as_expected: bool,
    cases: Vec<Tried>,
}

async fn show(ForCaller(state): ForCaller, Caller(_): Caller) -> Result<Json<Standing>, Problem> {
    std::future::ready(Ok(Json(state.policies.standing()))).await
}

async fn versions(
    ForCaller(state): ForCaller,
    Caller(_): Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<Version>>, Problem> {
    let items = policies::history(&state.store).await?;
    Ok(Json(Page::by_key(items, &paging, |item| {
        format!("{:020} {}", i64::MAX - item.first_at_ms, item.version)
    })?))
}

async fn test(
    ForCaller(state): ForCaller,
    Caller(_): Caller,
    input::Json(asked): input::Json<Cases>,
) -> Result<Json<Outcome>, Problem> {
    if asked.cases.is_empty() || asked.cases.len() > CASES_MAX {
        return Err(Error::usage(format!("{} cases are asked for", asked.cases.len()))
            .hint(format!("ask for 1 to {CASES_MAX} at once"))
            .into());
    }
    let read = state.policies.policies();
    let cases: Vec<Tried> = asked
        .cases
        .iter()
        .map(|case| policies::try_case(&read, case))
        .collect();
    let outcome = Outcome {
        version: read.version().to_owned(),
        is_as_expected: cases.iter().all(|tried| tried.mistake.is_none()),
        cases,
    };
    std::future::ready(Ok(Json(outcome))).await
}
