//! 1, 2, 3 … until a page is short, empty, or the last one by the answer's own count.

use serde_json::Value;
use weir_protocol::Result;
use weir_protocol::spec::{EmptyPage, Paginate, Placed};

use super::{Carried, PageFacts, PageState, Paginator, number_at, wrong_spec};
use crate::extract::Path;
use crate::interpolate::Scope;

#[derive(Debug)]
pub(super) struct PageNumber {
    request: Placed,
    start: u64,
    size: Option<u64>,
    pages: Option<Path>,
    stop: EmptyPage,
}

impl PageNumber {
    pub(super) fn new(spec: &Paginate) -> Result<Self> {
        let Paginate::PageNumber {
            request,
            start,
            size,
            pages_path,
            stop,
        } = spec
        else {
            return Err(wrong_spec());
        };
        Ok(Self {
            request: request.clone(),
            start: *start,
            size: size.as_ref().map(|size| size.value),
            pages: pages_path.as_deref().map(Path::parse).transpose()?,
            stop: *stop,
        })
    }
}

impl Paginator for PageNumber {
    fn first(&self, _scope: &Scope) -> Result<PageState> {
        Ok(PageState::Number(self.start))
    }

    fn next(&self, facts: &PageFacts<'_>, state: &PageState) -> Result<Option<PageState>> {
        let PageState::Number(number) = state else {
            return Ok(None);
        };
        let read = number.saturating_sub(self.start) + 1;
        let is_last = match number_at(facts, self.pages.as_ref())? {
            Some(pages) => read >= pages || facts.records == 0,
            None => ends(facts.records, self.size, self.stop),
        };
        Ok((!is_last).then(|| PageState::Number(number + 1)))
    }

    fn carry(&self, state: &PageState) -> Carried {
        match state {
            PageState::Number(number) => Carried::Put(self.request.clone(), Value::from(*number)),
            _ => Carried::Nothing,
        }
    }
}

/// Whether a page of so many records is the last one.
pub(super) fn ends(records: u64, size: Option<u64>, stop: EmptyPage) -> bool {
    match (stop, size) {
        (EmptyPage::Short, Some(size)) => records < size,
        (EmptyPage::Short, None) | (EmptyPage::Empty, _) => records == 0,
    }
}
