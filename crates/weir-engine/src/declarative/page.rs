//! From one answer to batches: decoding, selection, transforms, filters, cursors.

use std::hash::{BuildHasher, Hasher};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use weir_protocol::spec::CursorOrder;
use weir_protocol::{Batch, Error, Record, Result};

use super::context::{Oddity, ReadContext};
use super::tracker::Tracker;
use crate::cursor::{CursorPlan, Point};
use crate::decode::{Decoded, Encoded, decode};
use crate::extract::{Document, Exact, Page, find, parse};
use crate::http::Answer;
use crate::interpolate::Scope;

/// What an answer held.
#[derive(Default)]
pub(super) struct PageOut {
    pub(super) batches: Vec<Batch>,
    /// Records before any filter.
    pub(super) records: u64,
    /// The answer, where it is one JSON document.
    pub(super) document: Option<Document>,
    pub(super) last_record: Option<Bytes>,
    /// Of the records' bytes, where there are any.
    pub(super) digest: Option<u64>,
    /// Every record had a readable cursor, and all of them lie before the lower bound.
    pub(super) is_all_old: bool,
    /// Every record had a readable cursor, and all of them lie after the upper bound.
    pub(super) is_all_beyond: bool,
}

pub(super) struct PageReader<'a> {
    pub(super) context: &'a ReadContext,
    pub(super) slice: &'a Arc<str>,
    pub(super) scope: &'a Scope,
    /// Leave out records before this point (client-side incremental reading).
    pub(super) lower: Option<&'a Point>,
    pub(super) upper: Option<&'a Point>,
    pub(super) tracker: &'a mut Tracker,
}

/// What a record's cursor says about it.
enum Seen {
    Kept(Range<usize>),
    KeptWithout,
    Old,
    Beyond,
    Known,
}

impl PageReader<'_> {
    pub(super) fn read(&mut self, answer: &Answer) -> Result<PageOut> {
        let plan = &self.context.plan;
        let encoded = Encoded {
            body: &answer.body,
            content_type: answer.header("content-type"),
            bytes_max: self.context.source.response_bytes_max,
        };
        let mut out = PageOut {
            is_all_old: true,
            is_all_beyond: true,
            ..PageOut::default()
        };
        if answer.body.is_empty() && matches!(answer.status, 204 | 205) {
            (out.is_all_old, out.is_all_beyond) = (false, false);
            return Ok(out);
        }
        for part in decode(&plan.decode, encoded)? {
            let page = match part {
                Decoded::Document(body) => {
                    let page = plan.selector.select(body.clone())?;
                    let list = page.list.clone();
                    out.document = Some(Document { body, list });
                    page
                }
                Decoded::Lines(body, records) => plan.selector.select_lines(body, records)?,
            };
            out.records += page.records.len() as u64;
            out.last_record = page.records.last().map(|last| slice_of(&page, last));
            out.digest = digest_of(&page, out.digest);
            let (page, filtered) = if plan.rewrites() {
                self.rewrite(&page)?
            } else {
                (page, 0)
            };
            let sides = (&mut out.is_all_old, &mut out.is_all_beyond);
            let batch = self.batch(page, filtered, answer, sides)?;
            out.batches.push(batch);
        }
        out.is_all_old &= out.records > 0;
        out.is_all_beyond &= out.records > 0;
        Ok(out)
    }

    /// Transforms and filters each record; the changed ones are written into one new body.
    fn rewrite(&self, page: &Page) -> Result<(Page, u64)> {
        let plan = &self.context.plan;
        let mut kept = Vec::with_capacity(page.records.len());
        let mut body = Vec::new();
        let mut filtered = 0;
        for span in &page.records {
            // What is no JSON is passed on as it is: quarantine holds it with its bytes.
            let mut exact = Exact::of(&[page.json(span)]);
            let Ok(mut record) = exact.parse(page.json(span)) else {
                kept.push(self.copy(page, span, &mut body)?);
                continue;
            };
            plan.transforms.apply(&mut record, self.scope, &mut exact)?;
            if let Some(filter) = &plan.filter
                && !filter.render_bool(&self.scope.clone().with("record", &record))?
            {
                filtered += 1;
            } else if plan.transforms.is_empty() {
                kept.push(span.clone());
            } else {
                let start = offset(body.len())?;
                exact.write(&record, &mut body)?;
                kept.push(start..offset(body.len())?);
            }
        }
        let body = if plan.transforms.is_empty() {
            page.body.clone()
        } else {
            body.into()
        };
        let records = kept;
        let list = None;
        Ok((Page { body, records, list }, filtered))
    }

    fn copy(&self, page: &Page, span: &Range<u32>, body: &mut Vec<u8>) -> Result<Range<u32>> {
        if self.context.plan.transforms.is_empty() {
            return Ok(span.clone());
        }
        let start = offset(body.len())?;
        body.extend_from_slice(page.json(span));
        Ok(start..offset(body.len())?)
    }

    fn batch(
        &mut self,
        page: Page,
        filtered: u64,
        answer: &Answer,
        (is_all_old, is_all_beyond): (&mut bool, &mut bool),
    ) -> Result<Batch> {
        let mut batch = Batch {
            slice: self.slice.clone(),
            body: page.body,
            records: Vec::with_capacity(page.records.len()),
            filtered,
            deduplicated: 0,
            emitted_at: answer.received_at,
        };
        let context = self.context;
        // A page of which the filter left nothing says nothing of where the others lie.
        let is_judged = !page.records.is_empty();
        *is_all_old &= is_judged;
        *is_all_beyond &= is_judged;
        let newest_before = self.tracker.newest_read().cloned();
        let mut lowest: Option<Point> = None;
        for span in &page.records {
            let whole = span.start as usize..span.end as usize;
            let seen = match &context.plan.cursor {
                Some(cursor) => self.look(cursor, &batch.body, &whole, &mut lowest)?,
                None => Seen::KeptWithout,
            };
            *is_all_old &= matches!(seen, Seen::Old);
            *is_all_beyond &= matches!(seen, Seen::Beyond);
            let at = match seen {
                Seen::Old | Seen::Beyond => {
                    batch.filtered += 1;
                    continue;
                }
                Seen::Known => {
                    batch.deduplicated += 1;
                    continue;
                }
                Seen::Kept(at) => at,
                Seen::KeptWithout => 0..0,
            };
            batch.records.push(Record {
                start: span.start,
                len: span.end - span.start,
                cursor_start: offset(at.start)?,
                cursor_len: offset(at.len())?,
            });
        }
        if let (Some(newest), Some(lowest)) = (newest_before, lowest)
            && context.plan.order() == CursorOrder::Ascending
            && lowest.is_before(&newest)
        {
            context
                .notices
                .note(Oddity::OutOfOrder, format!("{lowest} after {newest}").as_bytes());
        }
        Ok(batch)
    }

    /// Finds and judges a record's cursor, and lets the slice's state follow it.
    fn look(
        &mut self,
        cursor: &CursorPlan,
        body: &[u8],
        whole: &Range<usize>,
        lowest: &mut Option<Point>,
    ) -> Result<Seen> {
        let json = &body[whole.clone()];
        let notices = &self.context.notices;
        // A record that is no JSON object is for quarantine to tell, not for the cursor.
        let found = find(body, whole, &cursor.path).unwrap_or_default();
        let Some(at) = found.filter(|at| &body[at.clone()] != b"null") else {
            notices.note(Oddity::CursorMissing, json);
            return Ok(Seen::KeptWithout);
        };
        let raw = &body[at.clone()];
        let Some(point) = cursor.formats.parse_raw(raw) else {
            notices.note(Oddity::CursorUnreadable, raw);
            return Ok(Seen::Kept(at));
        };
        if self.lower.is_some_and(|lower| point.is_before(lower)) {
            return Ok(Seen::Old);
        }
        if self.upper.is_some_and(|upper| point.is_after(upper)) {
            return Ok(Seen::Beyond);
        }
        if self.tracker.is_known(&point, json) {
            return Ok(Seen::Known);
        }
        if CursorPlan::is_far_ahead(&point, self.context.started_at) {
            notices.note(Oddity::CursorFarAhead, raw);
            return Ok(Seen::Kept(at));
        }
        self.tracker.observe(&point, raw, json)?;
        if self.tracker.is_edge_full() {
            notices.note(Oddity::EdgeFull, raw);
        }
        if lowest.as_ref().is_none_or(|lowest| point.is_before(lowest)) {
            *lowest = Some(point);
        }
        Ok(Seen::Kept(at))
    }
}

fn digest_of(page: &Page, before: Option<u64>) -> Option<u64> {
    if page.records.is_empty() {
        return before;
    }
    // Lives only as long as the process, and reads every byte of every page: speed is what counts.
    let mut hasher = foldhash::quality::FixedState::with_seed(before.unwrap_or_default()).build_hasher();
    page.records
        .iter()
        .for_each(|record| hasher.write(page.json(record)));
    Some(hasher.finish())
}

fn slice_of(page: &Page, span: &Range<u32>) -> Bytes {
    page.body.slice(span.start as usize..span.end as usize)
}

/// Offsets are 32 bits wide; answers are refused long before.
fn offset(at: usize) -> Result<u32> {
    u32::try_from(at).map_err(|_| {
        Error::limit("a page is larger than 4 GiB").hint("ask for smaller pages (paginate.size)")
    })
}

/// The value at a path of a record, parsed; None where there is none or it is null.
pub(super) fn field_of(
    body: &[u8],
    whole: &Range<usize>,
    path: &crate::extract::Path,
) -> Result<Option<Value>> {
    let found = find(body, whole, path)?;
    let value = found.map(|at| parse(&body[at])).transpose()?;
    Ok(value.filter(|value| !value.is_null()))
}
