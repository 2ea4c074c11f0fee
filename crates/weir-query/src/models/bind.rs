//! A connector's models for a connection whose source has another name than the connector.

use std::collections::BTreeMap;

const FRONT_MATTER_END: &str = "*/";

/// The text with these names exchanged, wherever they stand as whole words of the SQL. Texts in
/// single quotes and comments stay as they are; the front matter follows.
pub fn bind(text: &str, names: &BTreeMap<String, String>) -> String {
    let (front, sql) = match text.split_once(FRONT_MATTER_END) {
        Some((front, sql)) => (exchange(front, names) + FRONT_MATTER_END, sql),
        None => (String::new(), text),
    };
    let mut out = front;
    let mut rest = sql;
    while let Some((at, opening, closing)) = next_verbatim(rest) {
        let (before, from) = rest.split_at(at);
        out.push_str(&exchange(before, names));
        let (_, inside) = from.split_at(opening.len());
        let end = inside
            .find(closing)
            .map_or(inside.len(), |end| end + closing.len());
        let (verbatim, after) = from.split_at(opening.len() + end);
        out.push_str(verbatim);
        rest = after;
    }
    out.push_str(&exchange(rest, names));
    out
}

/// Where the next quoted text or comment begins, and what opens and closes it.
fn next_verbatim(sql: &str) -> Option<(usize, &'static str, &'static str)> {
    [("'", "'"), ("--", "\n"), ("/*", "*/")]
        .into_iter()
        .filter_map(|(opening, closing)| Some((sql.find(opening)?, opening, closing)))
        .min_by_key(|(at, _, _)| *at)
}

fn exchange(text: &str, names: &BTreeMap<String, String>) -> String {
    let is_inside = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_inside) {
        let (before, word) = rest.split_at(start);
        let end = word.find(|c| !is_inside(c)).unwrap_or(word.len());
        let (word, after) = word.split_at(end);
        out.push_str(before);
        out.push_str(names.get(word).map_or(word, String::as_str));
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_outside_of_quotes_are_exchanged() {
        let names = BTreeMap::from([
            ("hub_items".to_owned(), "acme_items".to_owned()),
            ("gold_work_flow".to_owned(), "gold_work_flow_acme".to_owned()),
        ]);
        let text = "/* weir\nmaterialize: table\ndescription: it's of hub_items\n*/\n\
                    select 'hub_items', hub_items.id -- hub_items\n\
                    from silver.\"hub_items\" join gold_work_flow on true /* hub_items */ where hub_items_x = 1";
        insta::assert_snapshot!(bind(text, &names), @r#"
        /* weir
        materialize: table
        description: it's of acme_items
        */
        select 'hub_items', acme_items.id -- hub_items
        from silver."acme_items" join gold_work_flow_acme on true /* hub_items */ where hub_items_x = 1
        "#);
    }
}
