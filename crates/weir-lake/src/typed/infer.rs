//! Types from data: what values were seen, the type they ask for, and how a schema grows to hold them.

use std::collections::HashMap;

use simd_json::{Node, StaticNode};
use weir_protocol::destination::{SchemaChange, SchemaChangeKind};
use weir_protocol::spec::Pii;

use super::COLUMNS_MAX;
use super::column::is_whole;
use super::exact::{Inexact, fits_double};
use super::kind::{Kind, Member};
use super::naming::column_name;
use super::pii::PiiRules;
use super::tape::Parsed;
use super::time;

/// Digits of the widest decimal.
const DECIMAL_DIGITS_MAX: u8 = 38;

/// Everything that was seen in one place.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    boolean: bool,
    integer: bool,
    /// An integer that 64 bits hold and a double does not.
    inexact: bool,
    /// The column that is there, or that is made anew, holds such an integer already.
    inexact_before: bool,
    /// An integer that 64 bits do not hold.
    big: bool,
    /// A number that no decimal holds exactly either.
    huge: bool,
    /// A number written with a point or exponent that is whole all the same: fits an integer column.
    whole: bool,
    fraction: bool,
    /// Text that is a date, that is a date-time, and that is neither.
    day: bool,
    moment: bool,
    /// A date-time whose text says more than microseconds in UTC do, or is not RFC 3339.
    loose_moment: bool,
    text: bool,
    object: Option<SeenObject>,
    list: Option<Box<Self>>,
}

#[derive(Debug, Default)]
pub(crate) struct SeenObject {
    members: Vec<(String, Seen)>,
    index: HashMap<String, usize>,
}

impl Seen {
    pub(crate) fn observe(&mut self, at: usize, record: &mut Parsed<'_>, pii: Option<&PiiRules>) {
        let Some(node) = record.nodes.get(at).copied() else {
            return;
        };
        if pii.is_some_and(|pii| pii.action == Some(Pii::Hash)) {
            self.text |= !matches!(node, Node::Static(StaticNode::Null));
            return;
        }
        match node {
            Node::Static(StaticNode::Null) => {}
            Node::Static(StaticNode::Bool(_)) => self.boolean = true,
            Node::Static(StaticNode::I64(value)) => self.observe_integer(value),
            Node::Static(StaticNode::U64(value)) => match i64::try_from(value) {
                Ok(value) => self.observe_integer(value),
                Err(_) => self.big = true,
            },
            Node::Static(StaticNode::F64(value)) if value.is_nan() => self.observe_big(record.text(at)),
            Node::Static(StaticNode::F64(value)) if is_whole(value) => self.whole = true,
            Node::Static(StaticNode::F64(_)) => self.fraction = true,
            Node::String(text) if time::date(text).is_some() => self.day = true,
            Node::String(text) => match time::moment(text) {
                Some(moment) => {
                    self.moment = true;
                    self.loose_moment |= !moment.strict;
                }
                None => self.text = true,
            },
            Node::Array { .. } => {
                let list = self.list.get_or_insert_default();
                for item in record.elements(at) {
                    list.observe(item, record, pii);
                }
            }
            Node::Object { .. } => self.object.get_or_insert_default().observe(at, record, pii),
        }
    }

    fn observe_integer(&mut self, value: i64) {
        self.integer = true;
        self.inexact |= !fits_double(value.unsigned_abs());
    }

    fn observe_big(&mut self, text: &str) {
        let integer = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        if let Ok(value) = text.parse::<i64>() {
            self.observe_integer(value);
        } else if integer && text.trim_start_matches('-').len() <= usize::from(DECIMAL_DIGITS_MAX) {
            self.big = true;
        } else {
            self.huge = true;
        }
    }

    /// The type of a new column; none while nothing says what it is.
    pub(crate) fn kind(&self) -> Option<Kind> {
        let number = self.integer || self.big || self.huge || self.whole || self.fraction;
        let text = self.day || self.moment || self.text;
        let scalars = [self.boolean, number, text].iter().filter(|seen| **seen).count();
        match (&self.object, &self.list, scalars) {
            (None, None, 0) => None,
            (Some(object), None, 0) => object.kind(),
            (None, Some(list), 0) => list.kind().map(|item| Kind::List(Box::new(item))),
            (Some(_), _, _) | (_, Some(_), _) => Some(Kind::Json),
            (None, None, 1) => Some(self.scalar_kind(number, text)),
            (None, None, _) => Some(Kind::Scalar),
        }
    }

    fn scalar_kind(&self, number: bool, text: bool) -> Kind {
        if number {
            let is_beyond_double = self.big || self.inexact;
            return match (self.huge, self.whole || self.fraction, is_beyond_double) {
                (true, _, _) | (_, true, true) => Kind::Scalar,
                // The column of a table that is rebuilt: what was held then stays held.
                (_, true, _) if self.inexact_before => Kind::Int,
                (_, true, _) => Kind::Float,
                _ if self.big => Kind::Decimal {
                    precision: DECIMAL_DIGITS_MAX,
                    scale: 0,
                },
                _ => Kind::Int,
            };
        }
        match (text, self.text || self.day, self.loose_moment) {
            (true, false, false) => Kind::Timestamp,
            (true, _, _) => Kind::Text,
            (false, _, _) => Kind::Bool,
        }
    }

    /// Grows `kind` so far as safe widening allows and notes what changed. What still does not fit
    /// afterwards is for quarantine.
    fn grow(&self, kind: &mut Kind, path: &str, changes: &mut Vec<SchemaChange>) {
        let is_exact = !self.inexact && !self.inexact_before;
        let wider = match kind {
            Kind::Int if self.fraction && is_exact => Some(Kind::Float),
            Kind::Date if self.moment => Some(Kind::Timestamp),
            _ => None,
        };
        if let Some(wider) = wider {
            changes.push(SchemaChange {
                column: path.to_owned(),
                kind: SchemaChangeKind::Widened,
                from: Some(kind.label()),
                to: Some(wider.label()),
            });
            *kind = wider;
            return;
        }
        match (kind, &self.object, &self.list) {
            (Kind::Struct(members), Some(object), _) => object.grow(members, path, changes),
            (Kind::List(item), _, Some(list)) => list.grow(item, &format!("{path}[]"), changes),
            _ => {}
        }
    }

    fn remember(&mut self, known: &Inexact) {
        if known.is_empty() {
            return;
        }
        self.inexact_before = known.is_here();
        if let Some(list) = &mut self.list {
            list.remember(&known.elements());
        }
        if let Some(object) = &mut self.object {
            object.remember(known);
        }
    }

    pub(crate) fn into_object(self) -> SeenObject {
        self.object.unwrap_or_default()
    }
}

impl SeenObject {
    fn observe(&mut self, at: usize, record: &mut Parsed<'_>, pii: Option<&PiiRules>) {
        // Records repeat the order of their fields: the next one is mostly the one that followed before.
        let mut next = 0;
        for (key, value) in record.members(at) {
            let below = pii.and_then(|pii| pii.field(key));
            if below.is_some_and(|rules| rules.action == Some(Pii::Drop)) {
                continue;
            }
            let index = match self.members.get(next) {
                Some((name, _)) if name == key => next,
                _ => self.place(key),
            };
            next = index + 1;
            self.members[index].1.observe(value, record, below);
        }
    }

    fn place(&mut self, key: &str) -> usize {
        if let Some(index) = self.index.get(key) {
            return *index;
        }
        self.index.insert(key.to_owned(), self.members.len());
        self.members.push((key.to_owned(), Seen::default()));
        self.members.len() - 1
    }

    /// Takes in which of the columns that are there hold integers that a double does not: they are not
    /// widened.
    pub(crate) fn remember(&mut self, known: &Inexact) {
        if known.is_empty() {
            return;
        }
        for (key, seen) in &mut self.members {
            seen.remember(&known.below(key));
        }
    }

    fn kind(&self) -> Option<Kind> {
        let mut members = Vec::new();
        self.grow_at(&mut members, "", false, &mut Vec::new());
        (!members.is_empty()).then_some(Kind::Struct(members))
    }

    /// Adds members for what is new and grows the others. `path` is empty for the record itself.
    pub(crate) fn grow(&self, members: &mut Vec<Member>, path: &str, changes: &mut Vec<SchemaChange>) {
        self.grow_at(members, path, path.is_empty(), changes);
    }

    fn grow_at(&self, members: &mut Vec<Member>, path: &str, top: bool, changes: &mut Vec<SchemaChange>) {
        for (key, seen) in &self.members {
            let below = |column: &str| match path {
                "" => column.to_owned(),
                _ => format!("{path}.{column}"),
            };
            if let Some(member) = members.iter_mut().find(|member| member.key == *key) {
                let path = below(&member.column);
                seen.grow(&mut member.kind, &path, changes);
                continue;
            }
            if members.len() > COLUMNS_MAX {
                // One more than a stream may have: it is refused, and what a million names cost is spared.
                return;
            }
            let Some(kind) = seen.kind() else { continue };
            let column = column_name(key, members, top);
            changes.push(SchemaChange {
                column: below(&column),
                kind: SchemaChangeKind::Added,
                from: None,
                to: Some(kind.label()),
            });
            members.push(Member {
                key: key.clone(),
                column,
                kind,
            });
        }
    }
}
