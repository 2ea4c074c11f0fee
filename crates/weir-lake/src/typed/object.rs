//! The columns of an object: which field goes where, found by the order of the record before.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Fields;
use simd_json::Node;
use weir_protocol::Result;
use weir_protocol::spec::Pii;

use super::column::{Column, Fit, Rules, broken};
use super::kind::{Member, fields};
use super::misfit::{Misfit, Problem};
use super::pii::PiiRules;
use super::tape::Parsed;

/// A struct column, or the record itself.
pub(crate) struct Object {
    fields: Fields,
    columns: Vec<Column>,
    entries: Vec<Entry>,
    lookup: HashMap<Box<str>, usize>,
    /// Entry that followed each entry the last time; slot 0 stands for the object's beginning.
    /// Records repeat the order of their fields, so this guess nearly always holds.
    followers: Vec<usize>,
}

struct Entry {
    key: Box<str>,
    /// Column that the field fills; none where it is dropped.
    column: Option<usize>,
    seen: bool,
}

impl Object {
    pub(crate) fn new(members: &[Member], pii: Option<&PiiRules>, rules: &Rules) -> Self {
        let below = |key: &str| pii.and_then(|pii| pii.field(key));
        let is_dropped = |rules: &PiiRules| rules.action == Some(Pii::Drop);
        let mut entries: Vec<Entry> = members
            .iter()
            .enumerate()
            .map(|(index, member)| Entry {
                key: member.key.as_str().into(),
                column: (!below(&member.key).is_some_and(is_dropped)).then_some(index),
                seen: false,
            })
            .collect();
        let dropped = pii.into_iter().flat_map(PiiRules::fields);
        for (key, _) in dropped.filter(|(_, rules)| is_dropped(rules)) {
            if !members.iter().any(|member| member.key == key) {
                entries.push(Entry {
                    key: key.into(),
                    column: None,
                    seen: false,
                });
            }
        }
        let lookup = entries
            .iter()
            .enumerate()
            .map(|(index, entry)| (entry.key.clone(), index))
            .collect();
        Self {
            fields: fields(members),
            columns: members
                .iter()
                .map(|member| Column::new(&member.kind, below(&member.key), rules))
                .collect(),
            followers: (0..=entries.len()).collect(),
            entries,
            lookup,
        }
    }

    /// Writes the fields of the object at `at` into row `row`. Columns of fields it lacks are left
    /// as they are; they catch up with nulls later. Of a repeated field the last value stays.
    #[inline]
    pub(crate) fn write(&mut self, row: usize, at: usize, record: &mut Parsed<'_>) -> Fit {
        if !matches!(record.nodes.get(at), Some(Node::Object { .. })) {
            return Err(Misfit::new(Problem::Type {
                expected: "object",
                got: record.type_word(at),
                widens: false,
            }));
        }
        let mut previous = 0;
        for (key, value) in record.members(at) {
            let guess = self.followers[previous];
            let found = match self.entries.get(guess) {
                Some(entry) if *entry.key == *key => guess,
                _ => match self.lookup.get(key) {
                    Some(found) => {
                        self.followers[previous] = *found;
                        *found
                    }
                    None if record.is_hollow(value) => continue,
                    None => {
                        let got = record.type_word(value);
                        return Err(Misfit::at(key, Problem::Unknown { got }));
                    }
                },
            };
            previous = found + 1;
            let entry = &mut self.entries[found];
            entry.seen = true;
            if let Some(column) = entry.column {
                self.columns[column]
                    .write(row, value, record)
                    .map_err(|misfit| misfit.within(self.fields[column].name()))?;
            }
        }
        Ok(())
    }

    /// The column that the field `key` fills.
    pub(crate) fn column_of(&self, key: &str) -> Option<&Column> {
        let entry = self.entries.get(*self.lookup.get(key)?)?;
        self.columns.get(entry.column?)
    }

    /// Names of columns whose field no record had since the builder was made.
    pub(crate) fn unseen(&self) -> impl Iterator<Item = usize> {
        self.entries
            .iter()
            .filter(|entry| !entry.seen)
            .filter_map(|entry| entry.column)
    }

    /// Takes over what an earlier builder of fewer columns had seen.
    pub(crate) fn remember_seen(&mut self, earlier: &Self) {
        for entry in &mut self.entries {
            let before = earlier
                .lookup
                .get(&entry.key)
                .and_then(|index| earlier.entries.get(*index));
            entry.seen |= before.is_some_and(|before| before.seen);
        }
    }

    pub(crate) fn truncate(&mut self, rows: usize) {
        for column in &mut self.columns {
            column.truncate(rows);
        }
    }

    pub(crate) fn finish_columns(&mut self, rows: usize) -> Result<Vec<ArrayRef>> {
        self.columns
            .iter_mut()
            .map(|column| column.finish(rows))
            .collect()
    }

    pub(crate) fn finish(&mut self, rows: usize, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let columns = self.finish_columns(rows)?;
        let array = StructArray::try_new_with_length(self.fields.clone(), columns, nulls, rows);
        Ok(Arc::new(array.map_err(|error| broken(&error))?))
    }
}
