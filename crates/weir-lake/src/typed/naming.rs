//! Column names. Delta compares names without case and refuses some characters; records know
//! neither rule.

use super::kind::Member;

/// Columns that weir itself writes; a record's field of the same name gets a suffix.
pub(crate) const RESERVED: &[&str] = &[
    "_emitted_at",
    "_source",
    "_stream",
    "_cursor",
    "_run",
    "_deleted_at",
    "_valid_from",
    "_valid_to",
    "_is_current",
    "_index",
    "_children_digest",
];

/// The name of the column that a field fills: the field's own, unless Delta refuses it (then `_`
/// stands for each refused character) or it is taken (then it gets the suffix `_2`, `_3` …).
pub(crate) fn column_name(key: &str, taken: &[Member], top: bool) -> String {
    let mut plain: String = key.chars().map(|c| if refused(c) { '_' } else { c }).collect();
    if plain.is_empty() {
        plain.push('_');
    }
    let mut name = plain.clone();
    let mut suffix = 2_u32;
    while is_taken(&name, taken, top) {
        name = format!("{plain}_{suffix}");
        suffix += 1;
    }
    name
}

fn refused(c: char) -> bool {
    matches!(c, ' ' | ',' | ';' | '{' | '}' | '(' | ')' | '=') || c.is_control()
}

fn is_taken(name: &str, taken: &[Member], top: bool) -> bool {
    let reserved = top && RESERVED.iter().any(|reserved| are_same(reserved, name));
    reserved || taken.iter().any(|member| are_same(&member.column, name))
}

fn are_same(a: &str, b: &str) -> bool {
    if a.is_ascii() && b.is_ascii() {
        return a.eq_ignore_ascii_case(b);
    }
    a.to_lowercase() == b.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::typed::kind::Kind;

    fn named(names: &[&str]) -> Vec<Member> {
        let mut members = Vec::new();
        for key in names {
            let column = column_name(key, &members, true);
            members.push(Member {
                key: (*key).to_owned(),
                column,
                kind: Kind::Int,
            });
        }
        members
    }

    #[test]
    fn names_are_valid_and_unique_without_case() {
        let columns: Vec<String> = named(&["id", "ID", "a b", "a_b", "", "_run", "été(x)", "Id"])
            .into_iter()
            .map(|member| member.column)
            .collect();
        assert_eq!(
            columns,
            ["id", "ID_2", "a_b", "a_b_2", "_", "_run_2", "été_x_", "Id_3"]
        );
    }
}
