//! A cursor for each partition, or one for all where there are too many.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value, json};
use weir_protocol::Result;

use super::super::time::{Delta, Moment, SECOND};
use super::{CursorPlan, Slice, Windows, canonical};

/// Partitions with a cursor of their own beyond which all share one.
const OWN_CURSORS_MAX: usize = 10_000;
/// Partitions that are remembered.
const PARTITIONS_MAX: usize = 25_000;

struct Partition {
    windows: Windows,
    partition: Value,
    /// Windows that are given out and not yet read.
    open: usize,
    /// Counted among those of this read.
    number: Option<usize>,
}

pub(crate) struct Partitioned {
    plan: Arc<CursorPlan>,
    partitions: HashMap<String, Partition>,
    order: VecDeque<String>,
    is_global: bool,
    /// What all partitions have reached: of the last sync, and of this one.
    reached: Option<Value>,
    reaching: Option<Value>,
    /// Seconds that the last sync took: new partitions begin that much earlier.
    lookback: i64,
    parent_state: Option<Value>,
    /// States of the parents as they were when partitions began, by the partition's number.
    parent_states: VecDeque<(Value, usize)>,
    reading: BTreeSet<usize>,
    numbered: usize,
    saw_data: bool,
    started: Instant,
}

impl Partitioned {
    pub(crate) fn new(plan: Arc<CursorPlan>, state: &Value, is_global: bool) -> Result<Self> {
        let mut partitioned = Self {
            plan,
            partitions: HashMap::new(),
            order: VecDeque::new(),
            is_global,
            reached: None,
            reaching: None,
            lookback: 0,
            parent_state: None,
            parent_states: VecDeque::new(),
            reading: BTreeSet::new(),
            numbered: 0,
            saw_data: false,
            started: Instant::now(),
        };
        partitioned.begin(state)?;
        Ok(partitioned)
    }

    fn begin(&mut self, state: &Value) -> Result<()> {
        let Some(members) = state.as_object().filter(|members| !members.is_empty()) else {
            return Ok(());
        };
        if !members.contains_key("states") && !members.contains_key("state") {
            self.begin_all(state)?;
        } else {
            self.is_global = members
                .get("use_global_cursor")
                .and_then(Value::as_bool)
                .unwrap_or(false);
            self.lookback = members
                .get("lookback_window")
                .and_then(Value::as_i64)
                .unwrap_or(0);
            let states = members.get("states").and_then(Value::as_array);
            for one in states.into_iter().flatten() {
                let partition = one.get("partition").cloned().unwrap_or_else(|| json!({}));
                let windows = Windows::new(self.plan.clone(), one.get("cursor").unwrap_or(&Value::Null))?;
                self.insert(canonical(&partition), partition, windows);
            }
            if let Some(all) = members.get("state") {
                self.begin_all(all)?;
            }
        }
        self.parent_state = members
            .get("parent_state")
            .filter(|state| state.as_object().is_some_and(|state| !state.is_empty()))
            .cloned();
        Ok(())
    }

    fn begin_all(&mut self, state: &Value) -> Result<()> {
        if let Some(value) = state.get(&self.plan.field) {
            let at = self
                .plan
                .parse(value)
                .ok_or_else(|| self.plan.unreadable(value))?;
            let written = self.plan.write(at);
            self.reached = Some(written.clone());
            self.reaching = Some(written);
        }
        Ok(())
    }

    fn insert(&mut self, key: String, partition: Value, windows: Windows) {
        self.order.push_back(key.clone());
        let partition = Partition {
            windows,
            partition,
            open: 0,
            number: None,
        };
        self.partitions.insert(key, partition);
    }

    /// Where a partition begins that has no state of its own.
    fn fresh(&self) -> Result<Windows> {
        let Some(reached) = &self.reached else {
            return Windows::new(self.plan.clone(), &Value::Null);
        };
        let at = self
            .plan
            .parse(reached)
            .ok_or_else(|| self.plan.unreadable(reached))?;
        let earlier = at.minus(Delta::micros(self.lookback * SECOND)).unwrap_or(at);
        Windows::new(
            self.plan.clone(),
            &json!({ &self.plan.field: self.plan.write(earlier) }),
        )
    }

    /// The windows of one more partition; none where it has been given out before.
    pub(crate) fn slices(&mut self, partition: &Slice, parent_state: Option<Value>) -> Result<Vec<Slice>> {
        self.make_room();
        let key = partition.key.clone();
        if self
            .partitions
            .get(&key)
            .is_some_and(|known| known.number.is_some())
        {
            return Ok(Vec::new());
        }
        if !self.partitions.contains_key(&key) {
            let windows = self.fresh()?;
            self.insert(key.clone(), partition.view.partition.clone(), windows);
        }
        let number = self.numbered;
        self.numbered += 1;
        let Some(known) = self.partitions.get_mut(&key) else {
            return Ok(Vec::new());
        };
        known.number = Some(number);
        let windows = known.windows.slices();
        known.open = windows.len();
        if !windows.is_empty() {
            self.reading.insert(number);
        }
        if let Some(state) = parent_state
            && self.parent_states.back().is_none_or(|(last, _)| *last != state)
        {
            self.parent_states.push_back((state, number));
        }
        Ok(windows
            .into_iter()
            .map(|window| partition.with_cursor(window))
            .collect())
    }

    fn make_room(&mut self) {
        if self.partitions.len() > OWN_CURSORS_MAX {
            self.is_global = true;
        }
        while self.partitions.len() >= PARTITIONS_MAX {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            let is_read = self.partitions.get(&oldest).is_none_or(|known| known.open == 0);
            if is_read {
                self.partitions.remove(&oldest);
            } else {
                self.order.push_back(oldest);
                return;
            }
        }
    }

    pub(crate) fn observe(&mut self, slice: &Slice, at: Moment) {
        self.saw_data = true;
        let value = self.plan.write(at);
        self.reach(value);
        if let Some(known) = self.partitions.get_mut(&slice.key) {
            known.windows.observe(&slice.view.cursor, at);
        }
    }

    /// Compared as they are written, as in the reference.
    fn reach(&mut self, value: Value) {
        let is_newer = match (&self.reaching, &value) {
            (None, _) => true,
            (Some(Value::String(old)), Value::String(new)) => old < new,
            (Some(old), new) => old.as_f64() < new.as_f64(),
        };
        if is_newer {
            self.reaching = Some(value);
        }
    }

    pub(crate) fn close(&mut self, slice: &Slice) {
        let Some(known) = self.partitions.get_mut(&slice.key) else {
            return;
        };
        known.open = known.open.saturating_sub(1);
        let is_done = known.open == 0;
        let number = known.number;
        let mut reached = None;
        if !self.is_global {
            known.windows.close(&slice.view.cursor);
            if is_done {
                reached = known.windows.state().get(&self.plan.field).cloned();
            }
        }
        if let Some(reached) = reached {
            self.reach(reached);
        }
        if let Some(number) = number.filter(|_| is_done) {
            self.reading.remove(&number);
        }
        while let Some((_, number)) = self.parent_states.front() {
            if self.reading.first().is_some_and(|first| first <= number) {
                break;
            }
            self.parent_state = self.parent_states.pop_front().map(|(state, _)| state);
        }
    }

    /// All partitions have been given out and read.
    pub(crate) fn finish(&mut self, parent_state: Option<Value>) {
        if !self.reading.is_empty() {
            return;
        }
        if self.saw_data {
            self.reached.clone_from(&self.reaching);
            let seconds = self.started.elapsed().as_secs().saturating_add(1);
            self.lookback = i64::try_from(seconds).unwrap_or(i64::MAX);
        }
        self.parent_state = parent_state;
    }

    pub(crate) fn state(&self) -> Value {
        let mut state = Map::new();
        state.insert("use_global_cursor".to_owned(), Value::Bool(self.is_global));
        if !self.is_global {
            let known = self.order.iter().filter_map(|key| self.partitions.get(key));
            let states =
                known.map(|known| json!({ "partition": known.partition, "cursor": known.windows.state() }));
            state.insert("states".to_owned(), Value::Array(states.collect()));
        }
        if let Some(reached) = &self.reached {
            state.insert("state".to_owned(), json!({ &self.plan.field: reached }));
        }
        state.insert("lookback_window".to_owned(), Value::from(self.lookback));
        if let Some(parent_state) = &self.parent_state {
            state.insert("parent_state".to_owned(), parent_state.clone());
        }
        Value::Object(state)
    }

    pub(crate) fn wants(&self, slice: &Slice, at: Option<Moment>) -> bool {
        match self.partitions.get(&slice.key).filter(|_| !self.is_global) {
            Some(known) => known.windows.wants(at),
            None => self.fresh().is_ok_and(|windows| windows.wants(at)),
        }
    }
}
