//! One value out of a JSON text by its path, without building a tree of the rest.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Field(String),
    Index(usize),
}

/// `user.login`, `$.labels[0].name`, `["a.b"]`. None where it is not a path.
pub(super) fn parse(text: &str) -> Option<Vec<Step>> {
    let mut rest = text.trim();
    rest = rest.strip_prefix('$').unwrap_or(rest);
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let (inside, after) = after.split_once(']')?;
            steps.push(bracket(inside.trim())?);
            rest = after;
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (field, after) = rest.split_at(end);
            if field.is_empty() {
                return None;
            }
            steps.push(Step::Field(field.to_owned()));
            rest = after;
        }
    }
    Some(steps)
}

fn bracket(inside: &str) -> Option<Step> {
    if let Ok(index) = inside.parse() {
        return Some(Step::Index(index));
    }
    let quote = inside.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let field = inside.strip_prefix(quote)?.strip_suffix(quote)?;
    Some(Step::Field(field.to_owned()))
}

/// The value at the path; none where the path leads nowhere or the text is not JSON.
pub(super) fn find(text: &str, path: &[Step]) -> Option<Value> {
    let mut json = serde_json::Deserializer::from_str(text);
    Seek(path).deserialize(&mut json).ok().flatten()
}

struct Seek<'p>(&'p [Step]);

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        match self.0 {
            [] => serde::Deserialize::deserialize(from).map(Some),
            _ => from.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match self.0 {
                [Step::Field(field), rest @ ..] if *field == key => {
                    found = map.next_value_seed(Seek(rest))?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let mut index = 0;
        loop {
            let more = match self.0 {
                [Step::Index(wanted), rest @ ..] if *wanted == index => {
                    match list.next_element_seed(Seek(rest))? {
                        Some(value) => {
                            found = value;
                            true
                        }
                        None => false,
                    }
                }
                _ => list.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                return Ok(found);
            }
            index += 1;
        }
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn finds_values() {
        let text = r#"{"user":{"login":"ada","a.b":1},"labels":[{"name":"bug"},{"name":"ui"}],"n":null}"#;
        let get = |path: &str| find(text, &parse(path).unwrap());
        assert_eq!(get("user.login"), Some(json!("ada")));
        assert_eq!(get("$.labels[1].name"), Some(json!("ui")));
        assert_eq!(get("user['a.b']"), Some(json!(1)));
        assert_eq!(get("labels[0]"), Some(json!({"name": "bug"})));
        assert_eq!(get("n"), Some(json!(null)));
        assert_eq!(get("labels[7].name"), None);
        assert_eq!(get("user.login.more"), None);
        assert_eq!(find("not json", &parse("a").unwrap()), None);
        assert_eq!(parse("a..b"), None);
        assert_eq!(parse("a[x]"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_path_or_none(path in ".*", text in ".*") {
            if let Some(steps) = parse(&path) {
                find(&text, &steps);
            }
        }
    }
}
