//! A stream's spec, compiled once per connection.

use weir_protocol::spec::{CursorOrder, Decode, HttpSpec, StreamSpec};
use weir_protocol::{Result, yaml};

use super::job::JobPlan;
use super::rules::Rules;
use crate::cursor::CursorPlan;
use crate::extract::Selector;
use crate::interpolate::{Template, Templates};
use crate::pagination::Pagination;
use crate::request::RequestPlan;
use crate::slicing::Slicing;
use crate::transform::Transforms;

#[derive(Debug)]
pub(super) struct StreamPlan {
    pub(super) name: String,
    pub(super) request: RequestPlan,
    pub(super) job: Option<JobPlan>,
    pub(super) decode: Decode,
    pub(super) selector: Selector,
    pub(super) filter: Option<Template>,
    pub(super) transforms: Transforms,
    pub(super) pagination: Pagination,
    pub(super) slicing: Slicing,
    pub(super) cursor: Option<CursorPlan>,
    pub(super) rules: Rules,
    pub(super) etag: bool,
    pub(super) pages_max: u64,
}

impl StreamPlan {
    pub(super) fn new(
        templates: &Templates,
        http: &HttpSpec,
        spec: &StreamSpec,
        pages_max: u64,
    ) -> Result<Self> {
        Self::compile(templates, http, spec, pages_max).map_err(|error| error.with("stream", &spec.name))
    }

    fn compile(templates: &Templates, http: &HttpSpec, spec: &StreamSpec, pages_max: u64) -> Result<Self> {
        let field = format!("stream {}", spec.name);
        let filter = spec.filter.as_deref();
        let filter = filter.map(|filter| templates.compile(format!("{field}: filter"), filter));
        let cursor = spec.cursor.as_ref();
        let cursor = cursor.map(|cursor| CursorPlan::new(templates, &format!("{field}: cursor"), cursor));
        let job = spec.job.as_ref();
        let job = job.map(|job| JobPlan::new(templates, &field, http, job));
        Ok(Self {
            name: spec.name.clone(),
            job: job.transpose()?,
            request: RequestPlan::new(templates, &field, http, &spec.request())?,
            decode: spec.decode.clone(),
            selector: Selector::new(&spec.select)?,
            filter: filter.transpose()?,
            transforms: Transforms::new(templates, &field, &spec.transform)?,
            pagination: Pagination::new(templates, &field, &spec.paginate)?,
            slicing: Slicing::new(templates, &field, &spec.slices)?,
            cursor: cursor.transpose()?,
            rules: Rules::new(templates, &field, &spec.errors, http)?,
            etag: spec.etag,
            pages_max,
        })
    }

    /// Whether records are changed or left out by templates, so that each needs a tree of values.
    pub(super) fn rewrites(&self) -> bool {
        self.filter.is_some() || !self.transforms.is_empty()
    }

    /// Whether the vendor is told the lower bound; otherwise records are left out on our side.
    pub(super) fn asks_for_changes(&self) -> bool {
        let by_request = |cursor: &CursorPlan| {
            let request = cursor.request.as_ref();
            request.is_some_and(|request| {
                request.param.is_some() || request.header.is_some() || request.body.is_some()
            })
        };
        let by_job = self.job.as_ref().is_some_and(|job| job.uses("cursor"));
        self.cursor.as_ref().is_some_and(by_request) || self.request.uses("cursor") || by_job
    }

    pub(super) fn order(&self) -> CursorOrder {
        self.cursor
            .as_ref()
            .map_or(CursorOrder::Unknown, |cursor| cursor.order)
    }
}

/// The error for a stream that does not exist.
pub(super) fn no_such_stream<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> weir_protocol::Error {
    let names: Vec<&str> = names.collect();
    let error = weir_protocol::Error::not_found(format!("there is no stream '{name}'"));
    match yaml::closest(name, &names) {
        Some(near) => error.hint(format!("did you mean '{near}'?")),
        None => error.hint(format!("its streams are {}", names.join(", "))),
    }
}
