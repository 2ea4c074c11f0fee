//! A cursor's windows and how far they are read.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use weir_protocol::Result;

use super::super::time::{Delta, Moment};
use super::{CursorPlan, NO_CURSOR};

/// What has been read without a gap.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: Moment,
    end: Moment,
    newest: Option<Moment>,
}

pub(crate) struct Windows {
    plan: Arc<CursorPlan>,
    /// The state it began with; what else stands in it is kept.
    legacy: Map<String, Value>,
    spans: Vec<Span>,
    /// Where this sync begins.
    start: Moment,
    /// Newest record of each window that is being read, by the window's text.
    newest: HashMap<String, Moment>,
}

impl Windows {
    /// `state` is null or an object.
    pub(crate) fn new(plan: Arc<CursorPlan>, state: &Value) -> Result<Self> {
        let legacy = state.as_object().cloned().unwrap_or_default();
        let is_spans = matches!(
            legacy.get("state_type").and_then(Value::as_str),
            Some("date-range" | "integer")
        );
        let parse = |value: &Value| plan.parse(value).ok_or_else(|| plan.unreadable(value));
        let mut windows = Self {
            start: plan.start,
            spans: Vec::new(),
            newest: HashMap::new(),
            legacy: Map::new(),
            plan: plan.clone(),
        };
        if is_spans {
            let nothing = Vec::new();
            for span in legacy.get("slices").and_then(Value::as_array).unwrap_or(&nothing) {
                let newest = span
                    .get("most_recent_cursor_value")
                    .filter(|value| !value.is_null());
                windows.spans.push(Span {
                    start: parse(span.get("start").unwrap_or(&Value::Null))?,
                    end: parse(span.get("end").unwrap_or(&Value::Null))?,
                    newest: newest.map(parse).transpose()?,
                });
            }
            if let Some(first) = windows.spans.first() {
                windows.start = first.newest.unwrap_or(first.end);
                return Ok(windows);
            }
        }
        if let Some(reached) = legacy.get(&plan.field).filter(|value| !value.is_null()) {
            windows.start = windows.start.max(parse(reached)?);
        }
        if !legacy.is_empty() && !legacy.contains_key(&plan.field) && !legacy.contains_key(NO_CURSOR) {
            let names: Vec<&str> = legacy.keys().map(String::as_str).collect();
            tracing::warn!(
                "the state has no '{}', the stream's cursor, but {}: it may be of another stream; reading from the beginning",
                plan.field,
                names.join(", ")
            );
        }
        windows.spans.push(Span {
            start: plan.start,
            end: windows.start,
            newest: Some(windows.start),
        });
        windows.legacy = legacy;
        Ok(windows)
    }

    /// The windows that are left to read, as a slice has them.
    pub(crate) fn slices(&mut self) -> Vec<Value> {
        self.merge();
        let mut found = Vec::new();
        let plan = self.plan.clone();
        let Some(first) = self.spans.first().copied() else {
            return found;
        };
        if plan.start < first.start {
            self.split(plan.start, first.start, false, &mut found);
        }
        for pair in self.spans.windows(2) {
            let [before, after] = pair else { continue };
            let lower = match plan.granularity {
                Some(granularity) => before.end.plus(granularity).unwrap_or(before.end),
                None => before.end,
            };
            self.split(lower, after.start, false, &mut found);
        }
        if let Some(last) = self.spans.last() {
            let lower = plan
                .lookback
                .and_then(|lookback| last.end.minus(lookback))
                .unwrap_or(last.end);
            match plan.end {
                Some(end) => self.split(lower, end, true, &mut found),
                None => found.push(self.open_window(lower.max(plan.start))),
            }
        }
        found
    }

    /// A window without end.
    fn open_window(&self, lower: Moment) -> Value {
        json!({ &self.plan.bounds.0: self.plan.write(lower), &self.plan.bounds.1: "inf" })
    }

    fn split(&self, lower: Moment, upper: Moment, upper_is_end: bool, found: &mut Vec<Value>) {
        let plan = &self.plan;
        if lower > upper || (lower == upper && plan.granularity.is_none()) || upper < plan.start {
            return;
        }
        let lower = plan.clamp.apply(lower.max(plan.start), true);
        if lower > upper || (lower == upper && (plan.is_strict || !upper_is_end)) {
            return;
        }
        let mut push = |start: Moment, end: Moment| {
            found.push(json!({ &plan.bounds.0: plan.write(start), &plan.bounds.1: plan.write(end) }));
        };
        let less = |at: Moment, granularity: Delta| at.minus(granularity).unwrap_or(at);
        let next = |at: Moment| plan.step.map(|step| at.plus(step).unwrap_or(upper));
        if next(lower).is_none_or(|next| next >= upper) {
            let end = match plan.granularity {
                Some(_) if upper_is_end => upper,
                _ => plan.clamp.apply(upper, true),
            };
            match plan.granularity {
                Some(granularity) if !upper_is_end => push(lower, less(end, granularity)),
                _ => push(lower, end),
            }
            return;
        }
        let mut current = lower;
        loop {
            let border = next(current).unwrap_or(upper).min(upper);
            let end = if border == upper {
                border
            } else {
                plan.clamp.apply(border, true)
            };
            let is_last = border >= upper || end == upper;
            let start = plan.clamp.apply(current, true);
            if start >= end {
                return;
            }
            match plan.granularity {
                Some(granularity) if !upper_is_end || !is_last => push(start, less(end, granularity)),
                _ => push(start, end),
            }
            if is_last {
                return;
            }
            current = end;
        }
    }

    /// A record's cursor value within a window.
    pub(crate) fn observe(&mut self, window: &Value, at: Moment) {
        let newest = self.newest.entry(window.to_string()).or_insert(at);
        *newest = (*newest).max(at);
    }

    /// A window is read to its end.
    pub(crate) fn close(&mut self, window: &Value) {
        let newest = self.newest.remove(&window.to_string());
        let bound = |name: &str| window.get(name).and_then(|value| self.plan.parse(value));
        let (start, end) = (bound(&self.plan.bounds.0), bound(&self.plan.bounds.1));
        // A window without end reaches as far as its records do.
        let Some(start) = start else { return };
        let Some(end) = end.or(newest) else { return };
        self.spans.push(Span { start, end, newest });
        self.merge();
    }

    fn merge(&mut self) {
        self.spans.sort_by_key(|span| (span.start, span.end));
        let mut merged: Vec<Span> = Vec::with_capacity(self.spans.len());
        for span in self.spans.drain(..) {
            match merged.last_mut() {
                Some(last) if self.plan.after(last.end) >= span.start => {
                    last.end = last.end.max(span.end);
                    last.newest = last.newest.max(span.newest);
                }
                _ => merged.push(span),
            }
        }
        self.spans = merged;
    }

    /// In the reference's format.
    pub(crate) fn state(&self) -> Value {
        let mut state = self.legacy.clone();
        if let Some(first) = self.spans.first() {
            let reached = first.newest.unwrap_or(first.start);
            state.insert(self.plan.field.clone(), self.plan.write(reached));
        }
        Value::Object(state)
    }

    /// Whether client-side incremental reading keeps a record.
    pub(crate) fn wants(&self, at: Option<Moment>) -> bool {
        let Some(at) = at else { return true };
        let lowest = match self.plan.lookback.and_then(|lookback| self.start.minus(lookback)) {
            Some(lower) => lower.max(self.start.min(self.plan.start)),
            None => self.start,
        };
        lowest <= at && self.plan.end.is_none_or(|end| at <= end)
    }
}
