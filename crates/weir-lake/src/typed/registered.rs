//! What the table already holds against what the stream declares and its policies ask for.

use arrow::datatypes::{Schema, SchemaRef};
use weir_protocol::destination::{SchemaChange, SchemaChangeKind};
use weir_protocol::spec::Pii;
use weir_protocol::{Error, Result, WritePlan};

use super::exact::Inexact;
use super::explode;
use super::kind::{self, Kind, Member};
use super::naming::{self, column_name};
use super::pii::PiiRules;

/// Takes declared members into the registered ones: new ones are added, types widened where that is
/// safe. Where it is not, the table's type stays and the conflict is noted. `known` are the columns
/// below `path`.
pub(crate) fn adopt(
    registered: &mut Vec<Member>,
    declared: Vec<Member>,
    path: &str,
    known: &Inexact,
    changes: &mut Vec<SchemaChange>,
) {
    for declared in declared {
        let below = |column: &str| match path {
            "" => column.to_owned(),
            _ => format!("{path}.{column}"),
        };
        if let Some(member) = registered.iter_mut().find(|member| member.key == declared.key) {
            let (path, known) = (below(&member.column), known.below(&declared.key));
            reconcile(&mut member.kind, declared.kind, &path, &known, changes);
            continue;
        }
        let column = column_name(&declared.key, registered, path.is_empty());
        changes.push(SchemaChange {
            column: below(&column),
            kind: SchemaChangeKind::Added,
            from: None,
            to: Some(declared.kind.label()),
        });
        registered.push(Member { column, ..declared });
    }
}

fn reconcile(
    registered: &mut Kind,
    declared: Kind,
    path: &str,
    known: &Inexact,
    changes: &mut Vec<SchemaChange>,
) {
    let kind = match (&mut *registered, declared) {
        (Kind::Struct(members), Kind::Struct(declared)) => {
            return adopt(members, declared, path, known, changes);
        }
        (Kind::List(item), Kind::List(declared)) => {
            return reconcile(item, *declared, &format!("{path}[]"), &known.elements(), changes);
        }
        // Stored alike; the declaration says how such text is read.
        (Kind::Text | Kind::Scalar | Kind::Json, text @ (Kind::Text | Kind::Scalar | Kind::Json)) => {
            *registered = text;
            return;
        }
        // The table is already as wide or wider.
        (Kind::Float, Kind::Int) | (Kind::Timestamp, Kind::Date) => return,
        (same, declared) if *same == declared => return,
        // Its integers would be rounded.
        (Kind::Int, double @ Kind::Float) if known.is_here() => double,
        (Kind::Int, wider @ Kind::Float) | (Kind::Date, wider @ Kind::Timestamp) => {
            changes.push(change(path, SchemaChangeKind::Widened, registered, &wider));
            *registered = wider;
            return;
        }
        (_, other) => other,
    };
    changes.push(change(path, SchemaChangeKind::Conflict, registered, &kind));
}

fn change(path: &str, kind: SchemaChangeKind, from: &Kind, to: &Kind) -> SchemaChange {
    SchemaChange {
        column: path.to_owned(),
        kind,
        from: Some(from.label()),
        to: Some(to.label()),
    }
}

/// The members as the personal-data rules leave them: dropped ones gone, hashed ones text.
pub(crate) fn governed(members: Vec<Member>, pii: &PiiRules) -> Vec<Member> {
    members
        .into_iter()
        .filter_map(|member| {
            let Some(rules) = pii.field(&member.key) else {
                return Some(member);
            };
            let kind = governed_kind(member.kind, rules)?;
            Some(Member { kind, ..member })
        })
        .collect()
}

fn governed_kind(kind: Kind, rules: &PiiRules) -> Option<Kind> {
    match (rules.action, kind) {
        (Some(Pii::Drop), _) => None,
        (Some(Pii::Hash), _) => Some(Kind::Text),
        (None, Kind::Struct(members)) => {
            let members = governed(members, rules);
            (!members.is_empty()).then_some(Kind::Struct(members))
        }
        (None, Kind::List(item)) => governed_kind(*item, rules).map(|item| Kind::List(Box::new(item))),
        (None, other) => Some(other),
    }
}

/// Refuses to put digests into a column that holds another type.
pub(crate) fn check_hashed(members: &[Member], pii: &PiiRules, path: &str) -> Result<()> {
    for member in members {
        let Some(rules) = pii.field(&member.key) else {
            continue;
        };
        let path = match path {
            "" => member.column.clone(),
            _ => format!("{path}.{}", member.column),
        };
        let mut kind = &member.kind;
        while let (None, Kind::List(item)) = (rules.action, kind) {
            kind = item;
        }
        match (rules.action, kind) {
            (Some(Pii::Hash), Kind::Text | Kind::Scalar | Kind::Json) => {}
            (Some(Pii::Hash), other) => {
                return Err(Error::schema(format!(
                    "column '{path}' is to be hashed, but the table holds it as {}",
                    other.label()
                ))
                .hint(
                    "rebuild the table with `weir lake rebuild`, or drop the field instead of hashing it",
                ));
            }
            (None, Kind::Struct(members)) => check_hashed(members, rules, &path)?,
            _ => {}
        }
    }
    Ok(())
}

/// The registered schema's members, lineage left out, child tables put back as lists.
pub(crate) fn members(schema: &Schema, children: &[(String, SchemaRef)]) -> Result<Vec<Member>> {
    let data: Vec<_> = schema
        .fields()
        .iter()
        .filter(|field| !naming::RESERVED.contains(&field.name().as_str()))
        // A list that stood in the table before it was exploded has given way to its child table.
        .filter(|field| {
            !children
                .iter()
                .any(|(key, _)| explode::list_column(key) == **field.name())
        })
        .cloned()
        .collect();
    let mut members = kind::members(&data.into())?;
    for (field, schema) in children {
        let own: Vec<_> = schema
            .fields()
            .iter()
            .filter(|field| explode::is_element_column(field.name()))
            .cloned()
            .collect();
        let item = explode::item_kind(kind::members(&own.into())?);
        let column = column_name(field, &members, true);
        members.push(Member {
            key: field.clone(),
            column,
            kind: Kind::List(Box::new(item)),
        });
    }
    Ok(members)
}

/// Policies that contradict each other.
pub(crate) fn check_policy(plan: &WritePlan, pii: &PiiRules, primary_key: &[Vec<String>]) -> Result<()> {
    let stream = &plan.stream;
    for path in primary_key {
        if pii.action_at(path) == Some(Pii::Drop) {
            let path = path.join(".");
            return Err(Error::spec(format!(
                "stream '{}' drops its primary key '{path}' as personal data",
                stream.name
            ))
            .hint(format!("write pii: {{ {path}: hash }}: equal keys stay equal")));
        }
    }
    if !stream.policy.explode.is_empty() && primary_key.is_empty() {
        return Err(Error::spec(format!(
            "stream '{}' explodes '{}' but has no primary key to tie the child rows to",
            stream.name, stream.policy.explode[0]
        ))
        .hint("add primary_key: [id], or remove explode"));
    }
    Ok(())
}
