//! Records to skip: as many as were answered so far.

use serde_json::Value;
use weir_protocol::Result;
use weir_protocol::spec::{EmptyPage, Paginate, Placed};

use super::page_number::ends;
use super::{Carried, PageFacts, PageState, Paginator, number_at, wrong_spec};
use crate::extract::Path;
use crate::interpolate::Scope;

#[derive(Debug)]
pub(super) struct Offset {
    request: Placed,
    size: u64,
    total: Option<Path>,
    stop: EmptyPage,
}

impl Offset {
    pub(super) fn new(spec: &Paginate) -> Result<Self> {
        let Paginate::Offset {
            request,
            size,
            total_path,
            stop,
        } = spec
        else {
            return Err(wrong_spec());
        };
        Ok(Self {
            request: request.clone(),
            size: size.value,
            total: total_path.as_deref().map(Path::parse).transpose()?,
            stop: *stop,
        })
    }
}

impl Paginator for Offset {
    fn first(&self, _scope: &Scope) -> Result<PageState> {
        Ok(PageState::Offset(0))
    }

    fn next(&self, facts: &PageFacts<'_>, state: &PageState) -> Result<Option<PageState>> {
        let PageState::Offset(offset) = state else {
            return Ok(None);
        };
        // By what was answered, not by what was asked for: a vendor that cuts pages short must not
        // make records be skipped.
        let next = offset.saturating_add(facts.records);
        let is_last = match self.total(facts)? {
            Some(total) => next >= total || facts.records == 0,
            None => ends(facts.records, Some(self.size), self.stop),
        };
        Ok((!is_last).then_some(PageState::Offset(next)))
    }

    fn carry(&self, state: &PageState) -> Carried {
        match state {
            PageState::Offset(offset) => Carried::Put(self.request.clone(), Value::from(*offset)),
            _ => Carried::Nothing,
        }
    }

    fn total(&self, facts: &PageFacts<'_>) -> Result<Option<u64>> {
        number_at(facts, self.total.as_ref())
    }
}
