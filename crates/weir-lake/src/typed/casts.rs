//! What a stream's casts promise of a column: a value that could not be cast does not get in.

use simd_json::{Node, StaticNode};
use weir_protocol::spec::{Cast, CastType};

use super::column::Fit;
use super::misfit::{Misfit, Problem};
use super::tape::Parsed;

const EVERY: &str = "*";

#[derive(Debug, Clone, Default)]
pub(crate) struct Casts(Vec<Cast>);

impl Casts {
    pub(crate) fn new(casts: &[Cast]) -> Self {
        Self(casts.to_vec())
    }

    /// Refuses a record with a value that a cast was asked for and could not be made of. Without
    /// this, such a value would widen its column, and nobody would hear of the cast.
    pub(crate) fn check(&self, record: &Parsed<'_>) -> Fit {
        self.0
            .iter()
            .try_for_each(|cast| check(cast, &cast.path, 0, record))
    }
}

fn check(cast: &Cast, path: &[String], at: usize, record: &Parsed<'_>) -> Fit {
    let Some((step, rest)) = path.split_first() else {
        return match fits(cast.to, at, record) {
            true => Ok(()),
            false => Err(Misfit::at(
                &cast.path.join("."),
                Problem::Cast {
                    to: cast.to.as_str(),
                    got: record.type_word(at),
                },
            )),
        };
    };
    if step == EVERY {
        record
            .elements(at)
            .try_for_each(|item| check(cast, rest, item, record))?;
        return record
            .members(at)
            .try_for_each(|(_, value)| check(cast, rest, value, record));
    }
    let member = record.members(at).filter(|(key, _)| *key == step).last();
    let element = || record.elements(at).nth(step.parse().ok()?);
    match member.map(|(_, value)| value).or_else(element) {
        Some(value) => check(cast, rest, value, record),
        None => Ok(()),
    }
}

fn fits(to: CastType, at: usize, record: &Parsed<'_>) -> bool {
    let Some(node) = record.nodes.get(at) else {
        return true;
    };
    match (to, node) {
        (_, Node::Static(StaticNode::Null)) => true,
        (CastType::Integer, Node::Static(StaticNode::I64(_) | StaticNode::U64(_)))
        | (
            CastType::Number,
            Node::Static(StaticNode::I64(_) | StaticNode::U64(_) | StaticNode::F64(_)),
        )
        | (CastType::Boolean, Node::Static(StaticNode::Bool(_)))
        | (CastType::String, Node::String(_))
        // Any value is JSON: a text that holds none is a JSON string.
        | (CastType::Json, _) => true,
        (CastType::Timestamp, Node::String(text)) => text.parse::<jiff::Timestamp>().is_ok(),
        _ => false,
    }
}
