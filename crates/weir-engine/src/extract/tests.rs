use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use weir_protocol::spec::Select;

use super::*;

fn select(spec: Value, body: &str) -> Result<Vec<Value>> {
    let spec: Select = serde_json::from_value(spec).unwrap();
    let page = Selector::new(&spec)?.select(Bytes::copy_from_slice(body.as_bytes()))?;
    Ok(page
        .records
        .iter()
        .map(|record| serde_json::from_slice(page.json(record)).unwrap())
        .collect())
}

#[test]
fn follows_paths() {
    let body = r#" { "data": {"items": [ {"id":1}, {"id":"}]\""} ]}, "groups": [{"users":[1,2]},{"users":[3]},{}] } "#;
    assert_eq!(
        select(json!("data.items"), body).unwrap(),
        [json!({"id":1}), json!({"id":"}]\""})]
    );
    assert_eq!(select(json!("groups.*.users"), body).unwrap(), [1, 2, 3]);
    assert_eq!(select(json!("groups.1.users"), body).unwrap(), [3]);
    assert_eq!(select(json!("data"), body).unwrap().len(), 1);
    assert_eq!(select(json!(null), "[1, {\"a\": 2}]").unwrap().len(), 2);
    assert_eq!(select(json!(null), "{}").unwrap(), [json!({})]);
    for none in ["null", " null\n", "[]"] {
        assert!(select(json!(null), none).unwrap().is_empty(), "{none:?}");
    }
    assert_eq!(select(json!("a"), "{\"a\":[]}").unwrap().len(), 0);
    assert_eq!(select(json!("a"), "{\"a\":null}").unwrap().len(), 0);
    assert!(select(json!("\\u0061"), "{\"\\u0061\":[1]}").is_err());
    assert_eq!(select(json!("a"), "{\"\\u0061\":[1]}").unwrap(), [1]);
}

#[test]
fn names_members() {
    let spec = json!({ "path": "users", "key_as": "name" });
    let found = select(spec, r#"{"users": {"ada": {"id": 1}, "b\"c": { }}}"#).unwrap();
    assert_eq!(found, [json!({"name": "ada", "id": 1}), json!({"name": "b\"c"})]);
}

#[test]
fn says_what_is_there_instead() {
    let error = select(json!("items"), r#"{"item": [], "total": 0}"#).unwrap_err();
    insta::assert_snapshot!(format!("{error:?}"), @"[decode] the answer has nothing at 'items' (select: items, answer has: item, total) -> did you mean 'item'? Otherwise write select: { path: items, optional: true } where answers without it hold no records");
    let spec = json!({ "path": "items", "optional": true });
    assert_eq!(select(spec, r#"{"total": 0}"#).unwrap().len(), 0);
}

#[test]
fn refuses_what_breaks_off() {
    for body in [
        "",
        "{",
        "[1,",
        "[{\"a\":1]",
        "[1] [2]",
        "[1 2]",
        "\"abc",
        "{\"a\":\"\\",
    ] {
        let error = select(json!(null), body).unwrap_err();
        assert_eq!(error.kind(), weir_protocol::ErrorKind::Decode, "{body}");
        assert!(error.next_step().is_some());
    }
    let deep = "[".repeat(1000) + &"]".repeat(1000);
    assert_eq!(
        select(json!(null), &deep).unwrap_err().kind(),
        weir_protocol::ErrorKind::Limit
    );
}

#[test]
fn paths_read_and_print() {
    for text in ["a.b", "a.*.c", "a\\.b.c", "0.id"] {
        assert_eq!(Path::parse(text).unwrap().to_string(), text);
    }
    for text in ["a..b", ".", "a.", ".a"] {
        assert!(Path::parse(text).is_err(), "{text}");
    }
    assert_eq!(Path::parse("\\*").unwrap().steps, [Step::Key("*".to_owned())]);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9_f64..1e9).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec(("[a-c\"\\\\.é]{1,2}", inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// As a paginator asks: after the records were selected, and without that they were.
fn value_at(body: &str, path: &Path) -> Result<Option<Value>> {
    let body = Bytes::from(body.to_owned());
    let selector =
        Selector::new(&serde_json::from_value(json!({ "path": "data", "optional": true })).unwrap())?;
    let list = selector.select(body.clone())?.list;
    let found = Document {
        body: body.clone(),
        list,
    }
    .value_at(path)?;
    assert_eq!(found, Document { body, list: None }.value_at(path)?);
    Ok(found)
}

#[test]
fn the_last_of_repeated_members_counts() {
    for (record, last) in [
        (r#"{"at":1,"x":2,"at":3}"#, "3"),
        (r#"{"at":{"a":"at"},"x":"at"}"#, r#"{"a":"at"}"#),
        (r#"{"at":1, "at" : 2,"b":{"at":3},"c":"\"at\":4"}"#, "2"),
        (r#"{"at":1,"at":null}"#, "null"),
        (r#"{"at":1,"\u0061t":2}"#, "2"),
    ] {
        let found = find(record.as_bytes(), &(0..record.len()), &Path::parse("at").unwrap());
        let found = record.get(found.unwrap().unwrap());
        assert_eq!(found, Some(last), "{record}");
    }
    let body = Bytes::from(r#"{"next":1,"data":{"list":[{"next":5}]},"next":2}"#);
    let list = body.windows(12).position(|part| part == b"[{\"next\":5}]");
    let list = list.map(|at| at..at + 12);
    let document = Document { body, list };
    assert_eq!(
        document.value_at(&Path::parse("next").unwrap()).unwrap(),
        Some(Value::from(2))
    );
}

#[test]
fn a_number_that_no_value_holds_is_the_text_of_its_digits() {
    let body = Bytes::from(r#"{"next":18446744073709551617,"at":1700000000.123456789,"n":1.5,"l":[1e20]}"#);
    let document = Document { body, list: None };
    let at = |path: &str| document.value_at(&Path::parse(path).unwrap()).unwrap().unwrap();
    assert_eq!(at("next"), "18446744073709551617");
    assert_eq!(at("at"), "1700000000.123456789");
    assert_eq!(at("n"), 1.5);
    assert_eq!(at("l"), json!([1e20]));
}

proptest! {
    #[test]
    fn spans_are_the_values(items in prop::collection::vec(any_json(), 0..8), pretty in any::<bool>()) {
        let items: Vec<Value> = items.into_iter().filter(|item| !item.is_null()).collect();
        let tree = json!({ "x": any_json_noise(&items), "data": items });
        let body = if pretty { serde_json::to_string_pretty(&tree).unwrap() } else { tree.to_string() };
        prop_assert_eq!(select(json!("data"), &body).unwrap(), items.clone());
        let path = Path::parse("data").unwrap();
        prop_assert_eq!(value_at(&body, &path).unwrap(), Some(Value::from(items)));
    }

    #[test]
    fn members_are_found(tree in any_json()) {
        let body = tree.to_string();
        if let Value::Object(members) = &tree {
            for (key, member) in members {
                let path = Path { steps: vec![Step::Key(key.clone())] };
                prop_assert_eq!(value_at(&body, &path).unwrap(), Some(member.clone()));
            }
        }
    }

    #[test]
    fn cut_documents_are_refused(tree in prop::collection::vec(any_json(), 1..5), cut in any::<prop::sample::Index>()) {
        let body = json!({ "data": tree }).to_string();
        let at = (0..body.len()).filter(|at| body.is_char_boundary(*at)).collect::<Vec<_>>();
        let (cut, _) = body.split_at(*cut.get(&at));
        prop_assert!(select(json!("data"), cut).is_err());
    }

    #[test]
    fn noise_never_panics(body in ".*", path in "[a-c*.]{0,6}") {
        if Path::parse(&path).is_ok() {
            select_quietly(&path, &body);
        }
    }
}

fn any_json_noise(items: &[Value]) -> Value {
    json!({ "data": [items.len()], "deep": items.first() })
}

fn select_quietly(path: &str, body: &str) {
    let selector = Selector::new(&Select::Path(path.to_owned())).unwrap();
    if let Ok(page) = selector.select(Bytes::copy_from_slice(body.as_bytes())) {
        for record in &page.records {
            assert!(record.start < record.end && record.end as usize <= body.len());
        }
    }
}
