//! Finds at the vendor what an earlier try of a call left there.

use std::collections::HashSet;

use bytes::Bytes;
use serde_json::Value;
use weir_protocol::action::{Call, Reply};
use weir_protocol::spec::{ActionSpec, HttpSpec, Lookup, Paginate};
use weir_protocol::{Error, Result};

use super::HttpActions;
use super::answer::Output;
use super::plan::ActionPlan;
use crate::extract::{Document, Page, Selector, parse};
use crate::http::{Answer, Outgoing};
use crate::interpolate::{Scope, Template, Templates};
use crate::pagination::{Carried, PageFacts, PageState, Pagination, headers_value};
use crate::request::{Injection, RequestPlan};

#[derive(Debug)]
pub(super) struct LookupPlan {
    request: RequestPlan,
    selector: Selector,
    condition: Option<Template>,
    complete: Option<Template>,
    /// None where it has one page, whose end is not known.
    pages: Option<Pagination>,
    pages_max: u32,
    output: Output,
}

/// What is left to look through after a page.
enum Rest {
    /// All that could be the effect was seen.
    Nothing,
    Page(PageState),
    /// There may be more, and no way leads there.
    Unknown,
}

impl LookupPlan {
    pub(super) fn new(
        templates: &Templates,
        field: &str,
        http: &HttpSpec,
        action: &ActionSpec,
        lookup: &Lookup,
    ) -> Result<Self> {
        let field = format!("{field}: idempotency.lookup");
        let condition = lookup.condition.as_deref();
        let condition = condition.map(|text| templates.compile(format!("{field}.where"), text));
        let complete = lookup.complete_when.as_deref();
        let complete = complete.map(|text| templates.compile(format!("{field}.complete_when"), text));
        let pages = (!matches!(lookup.paginate, Paginate::None))
            .then(|| Pagination::new(templates, &field, &lookup.paginate));
        let fields = if lookup.output.is_empty() {
            &action.output
        } else {
            &lookup.output
        };
        Ok(Self {
            request: RequestPlan::new(templates, &field, http, &lookup.request)?,
            selector: Selector::new(&lookup.select)?,
            condition: condition.transpose()?,
            complete: complete.transpose()?,
            pages: pages.transpose()?,
            pages_max: lookup.pages_max,
            output: Output::new(fields, action.remote_id.as_deref())?,
        })
    }

    fn first(&self, scope: &Scope) -> Result<PageState> {
        match &self.pages {
            Some(pages) => pages.rule().first(scope),
            None => Ok(PageState::First),
        }
    }

    /// What templates may name while this page is looked at.
    fn scope(&self, scope: &Scope, page: &PageState) -> Scope {
        match &self.pages {
            Some(pages) => scope.clone().with("page", pages.scope_value(page)),
            None => scope.clone(),
        }
    }

    fn request(&self, scope: &Scope, page: &PageState) -> Result<Outgoing> {
        let mut injections = Vec::new();
        let mut url = None;
        if let Some(pages) = &self.pages {
            let size = pages.size().into_iter();
            injections.extend(size.map(|(at, value)| Injection { at, value }));
            match pages.rule().carry(page) {
                Carried::Put(at, value) => injections.push(Injection { at, value }),
                Carried::Url(next) => url = Some(next),
                Carried::Nothing => {}
            }
        }
        self.request.build(scope, &injections, url.as_deref())
    }

    /// What is left after a page on which the effect is not.
    fn rest(&self, found: &Page, answer: &Answer, scope: &Scope, page: &PageState) -> Result<Rest> {
        let last = found.records.last().map(|place| found.json(place).to_vec());
        if self.is_complete(answer, last.as_deref(), scope)? {
            return Ok(Rest::Nothing);
        }
        let Some(pages) = &self.pages else {
            return Ok(Rest::Unknown);
        };
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
            scope,
        };
        Ok(match pages.rule().next(&facts, page)? {
            Some(next) => Rest::Page(next),
            None => Rest::Nothing,
        })
    }

    fn is_complete(&self, answer: &Answer, last: Option<&[u8]>, scope: &Scope) -> Result<bool> {
        let Some(complete) = &self.complete else {
            return Ok(false);
        };
        let mut scope = scope.clone();
        if complete.uses("response") {
            scope.set("response", parse(&answer.body)?);
        }
        if let Some(last) = last {
            scope.set("record", parse(last)?);
        }
        scope.set("headers", headers_value(&answer.headers));
        complete.render_bool(&scope)
    }

    fn is_it(&self, record: &Value, scope: &Scope) -> Result<bool> {
        match &self.condition {
            None => Ok(true),
            Some(condition) => condition.render_bool(&scope.clone().with("record", record)),
        }
    }
}

pub(super) async fn find(actions: &HttpActions, plan: &ActionPlan, call: &Call) -> Result<Option<Reply>> {
    let Some(lookup) = &plan.lookup else {
        return Err(Error::denied("the action declares no way to look for its effect")
            .with("action", &call.action)
            .hint("find out at the vendor, then settle the call by hand: `weir call settle`"));
    };
    let began_at = call.began_at_ms.map(|at| at.div_euclid(1000));
    let scope = actions.scope(call).with("began_at", began_at);
    let mut page = lookup.first(&scope)?;
    let mut seen = HashSet::new();
    for _ in 0..lookup.pages_max {
        let scope = lookup.scope(&scope, &page);
        let answer = actions
            .send(plan, call, lookup.request(&scope, &page)?, &scope)
            .await?;
        let found = lookup.selector.select(Bytes::clone(&answer.body))?;
        for place in &found.records {
            let record = parse(found.json(place))?;
            if lookup.is_it(&record, &scope)? {
                let (output, remote_id) = lookup.output.pick(record);
                return Ok(Some(Reply {
                    output,
                    remote_id,
                    status: answer.status,
                    warning: None,
                }));
            }
        }
        match lookup.rest(&found, &answer, &scope, &page)? {
            Rest::Nothing => return Ok(None),
            Rest::Page(next) if seen.insert(format!("{next:?}")) => page = next,
            Rest::Page(_) | Rest::Unknown => break,
        }
    }
    Err(unproven(lookup.pages_max))
}

/// What was looked through does not reach to the end: the effect may be further back.
fn unproven(pages_max: u32) -> Error {
    Error::source_failed("the effect was not found, and not all was seen that could be it")
        .with("pages at most", pages_max)
        .hint("find out at the vendor; the action's lookup needs paginate, more pages_max, or complete_when")
}
