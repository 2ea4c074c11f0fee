//! Records to typed rows: JSON text to Arrow by the stream's schema and contract, one parse a record.
//!
//! # What fits
//!
//! Accepted as they are, under every contract: null anywhere; a whole number written as `5.0` for an
//! integer; an integer for a number, where a double holds it; a date for a date-time (midnight UTC);
//! a number or its text for a decimal that holds all its digits. Under `evolve` also a number or
//! boolean for text (its JSON text). Digits finer than microseconds of a declared date-time are cut
//! off. Nothing else is altered: a text that looks like a number stays out of an integer column, and
//! an integer column with values that a double would round never becomes one of numbers.
//!
//! A new field whose value says nothing (null, `[]`, `{}`) is no change; its column appears when it
//! first has a value. Without declared schema the first batch's types become the schema, whatever
//! the contract; integers beyond 64 bits become `decimal(38,0)`, longer ones text.

mod big_number;
mod casts;
mod column;
mod conform;
mod decimal;
mod exact;
mod explode;
mod infer;
mod json_schema;
mod kind;
mod lineage;
mod mask;
mod misfit;
mod naming;
mod object;
mod pii;
mod registered;
mod tape;
mod time;

#[cfg(test)]
mod any_json;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use jiff::Timestamp;
use serde::de::IgnoredAny;
use weir_protocol::destination::{SchemaChange, SchemaChangeKind};
use weir_protocol::spec::Contract;
use weir_protocol::{Batch, Error, Result, WritePlan};

pub use conform::conform;
pub(crate) use exact::{EXACT_UP_TO, Inexact, is_beyond_double, rounds, text_fits_double};
pub(crate) use explode::{Exploder, INDEX};
pub use lineage::lineage_fields;
pub use mask::Mask;
pub use pii::Redactor;

use casts::Casts;
use column::{Fit, Rules, broken};
use infer::Seen;
use kind::Member;
use lineage::Lineage;
use misfit::{Misfit, Problem};
use object::Object;
use pii::{Hasher, PiiRules, split_path};
use tape::{Kept, Parsed, Parser};
pub(crate) use time::moment;

/// The records of a first batch, whose types are not known, are parsed once for both looks at them
/// if they have no more bytes together.
const KEPT_BYTES_MAX: usize = 512 << 10;
/// Columns of one table, nested ones included.
const COLUMNS_MAX: usize = 2_000;

/// Types the records of one stream, in the order they are given.
pub struct Typer {
    stream: String,
    contract: Contract,
    pii: PiiRules,
    redactor: Option<Redactor>,
    /// The cursor itself is personal data that must not be stored.
    drops_cursor: bool,
    rules: Rules,
    casts: Casts,
    primary_key: Vec<Vec<String>>,
    exploder: Option<Exploder>,
    members: Vec<Member>,
    root: Object,
    schema: SchemaRef,
    parser: Parser,
    lineage: Lineage,
    /// Long columns that are not widened.
    inexact: Inexact,
    /// Changes found before the first batch: the declaration against the table.
    pending: Vec<SchemaChange>,
    /// Columns of the table as it was opened.
    before: BTreeSet<String>,
    /// Some record became a row.
    has_rows: bool,
    /// Fields of records that did not.
    refused: BTreeSet<String>,
}

/// One batch, typed.
#[derive(Debug)]
pub struct Decoded {
    /// Data columns ([`Typer::schema`]), then [`lineage_fields`].
    pub rows: RecordBatch,
    pub quarantined: Vec<Rejected>,
    /// Places in the batch of records that are no JSON, or nest too deep; all others are.
    pub unreadable: Vec<usize>,
    /// How the schema changed with this batch. The table must take it in before these rows.
    pub changes: Vec<SchemaChange>,
}

/// A record that did not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Place in its batch.
    pub place: usize,
    /// Free of the record's values, so that equal reasons group.
    pub reason: String,
    pub column: Option<String>,
    /// The bytes as received, without the fields that are dropped as personal data.
    pub record: Bytes,
    /// Raw JSON of the cursor's value; none where that is dropped as personal data.
    pub cursor: Option<Bytes>,
    pub emitted_at: Timestamp,
    pub slice: Arc<str>,
}

/// The records of a batch that did not become rows.
#[derive(Default)]
struct Refused {
    quarantined: Vec<Rejected>,
    unreadable: Vec<usize>,
}

impl Typer {
    /// `registered` is the table's schema, none for a new table; lineage columns in it are ignored.
    pub fn new(plan: &WritePlan, registered: Option<SchemaRef>, pii_key: &[u8]) -> Result<Self> {
        Self::with_children(plan, registered, &[], &Inexact::default(), pii_key)
    }

    /// As [`Typer::new`], with the schemas of the child tables that already exist, by exploded field, and
    /// what is known of the long columns of all of them.
    pub(crate) fn with_children(
        plan: &WritePlan,
        registered: Option<SchemaRef>,
        children: &[(String, SchemaRef)],
        known: &Inexact,
        pii_key: &[u8],
    ) -> Result<Self> {
        let stream = &plan.stream;
        let pii = PiiRules::new(&stream.policy.pii);
        let primary_key: Vec<Vec<String>> = stream.primary_key.iter().map(|path| split_path(path)).collect();
        registered::check_policy(plan, &pii, &primary_key)?;
        let mut pending = Vec::new();
        let declared = match &stream.schema {
            Some(schema) => registered::governed(json_schema::members(schema)?, &pii),
            None => Vec::new(),
        };
        let before = registered.iter().flat_map(|schema| schema.fields());
        let before = before.map(|field| field.name().clone()).collect();
        let members = match registered {
            Some(schema) => {
                let mut members = registered::members(&schema, children)?;
                registered::check_hashed(&members, &pii, "")?;
                registered::adopt(&mut members, declared, "", known, &mut pending);
                members
            }
            None => declared,
        };
        let hasher = Hasher::new(pii_key)?;
        let redactor = Redactor::new(&stream.policy.pii)?;
        let cursor = stream.cursor_field.as_deref();
        let rules = Rules {
            hasher: hasher.clone(),
            lenient: stream.policy.contract == Contract::Evolve,
        };
        let mut typer = Self {
            stream: stream.name.clone(),
            contract: stream.policy.contract,
            drops_cursor: redactor
                .as_ref()
                .zip(cursor)
                .is_some_and(|(redactor, path)| redactor.drops(path)),
            redactor,
            root: Object::new(&members, Some(&pii), &rules),
            lineage: Lineage::new(plan, &pii, hasher),
            exploder: Exploder::new(&stream.policy.explode, &stream.primary_key),
            schema: Arc::new(Schema::empty()),
            parser: Parser::new(),
            pii,
            rules,
            casts: Casts::new(&stream.policy.casts),
            primary_key,
            members,
            inexact: known.clone(),
            pending,
            before,
            has_rows: false,
            refused: BTreeSet::new(),
        };
        typer.relayout()?;
        Ok(typer)
    }

    /// The data columns as they are now, without lineage; exploded fields are lists here. Empty
    /// until the first batch where nothing is declared or registered.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Data columns and lineage: the schema of [`Decoded::rows`].
    pub fn row_schema(&self) -> SchemaRef {
        let lineage = lineage_fields();
        let fields: Vec<_> = self.schema.fields().iter().chain(&lineage).cloned().collect();
        Arc::new(Schema::new(fields))
    }

    /// Long columns with integers that a double does not hold: of what was typed, and known before.
    pub(crate) fn inexact(&self) -> Inexact {
        self.inexact.of(&self.members)
    }

    /// Takes in what is known of columns that are yet to come.
    pub(crate) fn know(&mut self, more: &Inexact) {
        self.inexact.join(more);
    }

    /// Columns whose declared type the table cannot take on; empty after the first batch.
    pub(crate) fn conflicts(&self) -> Vec<SchemaChange> {
        let of = |change: &&SchemaChange| change.kind == SchemaChangeKind::Conflict;
        self.pending.iter().filter(of).cloned().collect()
    }

    /// Columns that the table had before, and that no record since the start had a field for: what
    /// vanished, after a whole read. A field of a record that went to quarantine did not; and a read
    /// without a row says nothing.
    pub fn vanished(&self) -> Vec<SchemaChange> {
        if !self.has_rows {
            return Vec::new();
        }
        let member = |index: usize| self.members.get(index);
        self.root
            .unseen()
            .filter_map(member)
            .filter(|member| self.before.contains(&member.column) && !self.refused.contains(&member.key))
            .map(|member| SchemaChange {
                column: member.column.clone(),
                kind: SchemaChangeKind::Vanished,
                from: Some(member.kind.label()),
                to: None,
            })
            .collect()
    }

    /// Types a batch. What does not fit goes to `quarantined`, unless the contract is `freeze`.
    pub fn decode(&mut self, batch: &Batch) -> Result<Decoded> {
        self.decode_part(batch, batch)
    }

    /// Types a part of a page. Where the schema must begin or grow, it does by all of the page: what follows in it
    /// would else not fit a type that its first records alone ask for.
    pub fn decode_part(&mut self, batch: &Batch, page: &Batch) -> Result<Decoded> {
        let mut changes = std::mem::take(&mut self.pending);
        let refused = if self.members.is_empty() {
            self.begin(batch, page)?
        } else {
            match self.pass(batch, &[], self.contract == Contract::Evolve)? {
                Some(refused) => refused,
                None => {
                    changes.extend(self.evolve(page, &[])?);
                    // Whatever still does not fit does not fit at all.
                    self.pass(batch, &[], false)?.unwrap_or_default()
                }
            }
        };
        let rows = self.finish(batch)?;
        self.has_rows |= rows.num_rows() > 0;
        self.note_refused(&refused.quarantined);
        Ok(Decoded {
            rows,
            quarantined: refused.quarantined,
            unreadable: refused.unreadable,
            changes,
        })
    }

    /// The first batch of a new table: its types are no change of it.
    fn begin(&mut self, batch: &Batch, page: &Batch) -> Result<Refused> {
        if page.records.len() > batch.records.len() {
            self.evolve(page, &[])?;
            return Ok(self.pass(batch, &[], false)?.unwrap_or_default());
        }
        let is_small = batch.body.len() <= KEPT_BYTES_MAX;
        let mut texts = vec![Vec::new(); if is_small { batch.records.len() } else { 0 }];
        let places = texts.iter_mut().zip(&batch.records);
        let kept: Vec<_> = places
            .map(|(text, record)| self.parser.keep(batch.json(record), text))
            .collect();
        self.evolve(batch, &kept)?;
        Ok(self.pass(batch, &kept, false)?.unwrap_or_default())
    }

    /// Notes which columns live on in records that are held, as far as the table has them.
    fn note_refused(&mut self, rejected: &[Rejected]) {
        for record in rejected {
            let fields = serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(&record.record);
            let known = |key: &String| self.members.iter().any(|member| member.key == *key);
            // What is no object has no fields.
            let fields = fields.unwrap_or_default().into_keys().filter(known);
            self.refused.extend(fields.collect::<Vec<_>>());
        }
    }

    /// Writes the batch's records into the columns; none where the schema must evolve first.
    fn pass(
        &mut self,
        batch: &Batch,
        kept: &[Option<Kept<'_>>],
        may_evolve: bool,
    ) -> Result<Option<Refused>> {
        self.root.truncate(0);
        self.lineage.clear();
        let emitted_us = batch.emitted_at.as_microsecond();
        let mut refused = Refused::default();
        for (place, record) in batch.records.iter().enumerate() {
            let row = self.lineage.rows();
            let (root, lineage, keys) = (&mut self.root, &self.lineage, &self.primary_key);
            let casts = &self.casts;
            let kept = kept.get(place).and_then(Option::as_ref);
            let parsed = self.parser.parse_unless_kept(kept, batch.json(record), |parsed| {
                casts.check(parsed)?;
                write_row(root, keys, row, parsed).map(|()| lineage.deleted_at(parsed, emitted_us))
            });
            let (reason, column) = match parsed {
                Ok(Ok(deleted_at)) => {
                    self.lineage.push(batch.cursor(record), deleted_at);
                    continue;
                }
                Ok(Err(misfit)) => {
                    self.root.truncate(row);
                    if may_evolve && misfit.evolves() {
                        return Ok(None);
                    }
                    if self.contract == Contract::Freeze && misfit.breaks_contract() {
                        return Err(self.frozen(&misfit, batch.json(record)));
                    }
                    (misfit.reason(), misfit.column())
                }
                Err(unreadable) => {
                    refused.unreadable.push(place);
                    (unreadable.reason(), None)
                }
            };
            let start = record.start as usize;
            let raw = batch.body.slice(start..start + record.len as usize);
            refused.quarantined.push(Rejected {
                place,
                reason,
                column,
                record: match &mut self.redactor {
                    Some(redactor) => redactor.record(raw),
                    None => raw,
                },
                cursor: batch
                    .cursor(record)
                    .filter(|_| !self.drops_cursor)
                    .map(Bytes::copy_from_slice),
                emitted_at: batch.emitted_at,
                slice: Arc::clone(&batch.slice),
            });
        }
        Ok(Some(refused))
    }

    /// Grows the schema by what the batch's records hold.
    fn evolve(&mut self, batch: &Batch, kept: &[Option<Kept<'_>>]) -> Result<Vec<SchemaChange>> {
        let mut seen = Seen::default();
        for (place, record) in batch.records.iter().enumerate() {
            // What cannot be parsed says nothing; the pass that follows sends it to quarantine.
            let pii = &self.pii;
            let (keys, casts) = (&self.primary_key, &self.casts);
            let kept = kept.get(place).and_then(Option::as_ref);
            let looked_at = self.parser.parse_unless_kept(kept, batch.json(record), |parsed| {
                if keys.iter().all(|key| has_value(parsed, key)) && casts.check(parsed).is_ok() {
                    seen.observe(0, parsed, Some(pii));
                }
            });
            if let Err(why) = looked_at {
                tracing::debug!(stream = %self.stream, reason = %why.reason(), "record says nothing about the schema");
            }
        }
        let mut changes = Vec::new();
        let mut seen = seen.into_object();
        seen.remember(&self.inexact);
        seen.grow(&mut self.members, "", &mut changes);
        if !changes.is_empty() {
            self.relayout()?;
        }
        Ok(changes)
    }

    /// Makes columns and schema anew after `members` changed.
    fn relayout(&mut self) -> Result<()> {
        let columns: usize = self.members.iter().map(|member| member.kind.columns()).sum();
        if columns > COLUMNS_MAX {
            return Err(Error::limit(format!(
                "the table would have {columns} columns, nested ones included"
            ))
            .with("stream", &self.stream)
            .with("limit", COLUMNS_MAX)
            .hint(
                "declare the object whose field names are data as { type: object } without properties in \
                         the stream's schema: it is then kept as JSON text in one column",
            ));
        }
        let mut root = Object::new(&self.members, Some(&self.pii), &self.rules);
        root.remember_seen(&self.root);
        self.root = root;
        if let Some(exploder) = &self.exploder {
            let columns = self.members.iter().map(|member| (&*member.key, &*member.column));
            exploder.check_columns(&self.stream, columns)?;
        }
        let fields: Vec<_> = self.members.iter().map(Member::field).collect();
        self.schema = Arc::new(Schema::new(fields));
        Ok(())
    }

    fn finish(&mut self, batch: &Batch) -> Result<RecordBatch> {
        let rows = self.lineage.rows();
        let mut arrays: Vec<ArrayRef> = self.root.finish_columns(rows)?;
        self.inexact.note(&self.members, &arrays);
        arrays.extend(self.lineage.finish(batch.emitted_at.as_microsecond()));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.row_schema(), arrays, &options).map_err(|error| broken(&error))
    }

    /// The error that stops a frozen stream.
    fn frozen(&mut self, misfit: &Misfit, raw: &[u8]) -> Error {
        let (expected, got) = misfit.types();
        let mut error = Error::schema(format!(
            "stream '{}' is frozen, and {}",
            self.stream,
            misfit.reason()
        ))
        .with("column", misfit.column().unwrap_or_default());
        if let Some(expected) = expected {
            error = error.with("expected", expected);
        }
        if let Some(got) = got {
            error = error.with("got", got);
        }
        let (pii, keys) = (&self.pii, &self.primary_key);
        let shown = self.parser.parse(raw, |parsed| {
            let visible = keys.iter().filter(|key| pii.action_at(key).is_none());
            let texts = visible.filter_map(|key| {
                let at = parsed.find(key)?;
                Some(format!("{}={}", key.join("."), parsed.text(at)))
            });
            texts.collect::<Vec<_>>().join(", ")
        });
        if let Ok(key) = shown {
            error = error.with("record", key);
        }
        error.hint("set the stream's contract to evolve or quarantine, or change its schema to fit")
    }
}

fn write_row(root: &mut Object, keys: &[Vec<String>], row: usize, record: &mut Parsed<'_>) -> Fit {
    if !matches!(record.nodes.first(), Some(simd_json::Node::Object { .. })) {
        let got = record.type_word(0);
        return Err(Misfit::new(Problem::NotObject { got }));
    }
    root.write(row, 0, record)?;
    for path in keys {
        if !is_set(root, path, row) {
            return Err(Misfit::at(&path.join("."), Problem::NoKey));
        }
    }
    Ok(())
}

fn is_set(root: &Object, path: &[String], row: usize) -> bool {
    let mut object = Some(root);
    path.iter().all(|key| {
        let column = object.and_then(|object| object.column_of(key));
        object = column.and_then(column::Column::object);
        column.is_some_and(|column| column.is_set(row))
    })
}

fn has_value(record: &Parsed<'_>, path: &[String]) -> bool {
    record.find(path).is_some_and(|at| record.type_word(at) != "null")
}
