//! Lists that actions read: page after page, within the limits of one answer to a caller.

use std::collections::HashSet;

use bytes::Bytes;
use serde_json::{Value, json};
use weir_protocol::action::{Call, Reply};
use weir_protocol::spec::Select;
use weir_protocol::{Error, Result};

use super::HttpActions;
use super::plan::ActionPlan;
use crate::extract::{Document, Selector, parse};
use crate::http::Outgoing;
use crate::interpolate::Scope;
use crate::pagination::PageFacts;

/// Of one call. A caller who wants more narrows the list, or syncs a stream.
const PAGES_MAX: usize = 20;
const RECORDS_MAX: usize = 2_000;
const BYTES_MAX: usize = 4 << 20;

/// The request for a list's first page.
pub(super) fn first(plan: &ActionPlan, call: &Call, scope: &Scope) -> Result<Outgoing> {
    let page = plan.pagination.rule().first(scope)?;
    let scope = scope.clone().with("page", plan.pagination.scope_value(&page));
    plan.request(&scope, call, Some(&page))
}

/// The list's records, and whether there are more than are given.
pub(super) async fn read(
    actions: &HttpActions,
    plan: &ActionPlan,
    call: &Call,
    scope: &Scope,
) -> Result<Reply> {
    let root = Selector::new(&Select::Root)?;
    let selector = plan.selector.as_ref().unwrap_or(&root);
    let rule = plan.pagination.rule();
    let mut page = rule.first(scope)?;
    let mut seen = HashSet::new();
    let mut records: Vec<Value> = Vec::new();
    let mut bytes = 0;
    let mut status = 200;
    for _ in 0..PAGES_MAX {
        let scope = scope.clone().with("page", plan.pagination.scope_value(&page));
        let answer = actions
            .send(plan, call, plan.request(&scope, call, Some(&page))?, &scope)
            .await?;
        status = answer.status;
        let found = selector.select(Bytes::clone(&answer.body))?;
        for place in &found.records {
            bytes += place.len();
            if records.len() == RECORDS_MAX || bytes > BYTES_MAX {
                return reply(plan, records, true, status);
            }
            let (record, _) = plan.output.pick(parse(found.json(place))?);
            records.push(record);
        }
        let last = found.records.last().map(|place| found.json(place).to_vec());
        let document = Document {
            body: found.body.clone(),
            list: found.list.clone(),
        };
        let facts = PageFacts {
            records: found.records.len() as u64,
            document: Some(&document),
            headers: &answer.headers,
            url: &answer.url,
            last_record: last.as_deref(),
            scope: &scope,
        };
        let Some(next) = rule.next(&facts, &page)? else {
            return reply(plan, records, false, status);
        };
        if !seen.insert(format!("{next:?}")) {
            return Err(Error::source_failed("the source's pages lead back to themselves")
                .hint("check the action's paginate"));
        }
        page = next;
    }
    reply(plan, records, true, status)
}

fn reply(plan: &ActionPlan, records: Vec<Value>, is_truncated: bool, status: u16) -> Result<Reply> {
    let output = json!({ "records": records, "truncated": is_truncated });
    plan.check_output(&output)?;
    Ok(Reply {
        output,
        remote_id: None,
        status,
        warning: None,
    })
}
