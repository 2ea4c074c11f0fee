use serde_json::json;

use super::*;
use crate::clock::Clock;

fn apply(steps: Value, record: Value) -> Value {
    let specs: Vec<Transform> = serde_json::from_value(steps).unwrap();
    let transforms = Transforms::new(&Templates::new(&Clock::system()), "stream x", &specs).unwrap();
    let scope = Scope::new().with("slice", json!({ "repo": "a/b" }));
    let mut record = record;
    transforms.apply(&mut record, &scope).unwrap();
    record
}

#[test]
fn adds_what_templates_give() {
    let added = apply(
        json!([{ "add": { "meta.repo": "{{ slice.repo }}", "n": "{{ record.id + 1 }}", "fixed": [1] } }]),
        json!({ "id": 1 }),
    );
    assert_eq!(
        added,
        json!({ "id": 1, "fixed": [1], "meta": { "repo": "a/b" }, "n": 2 })
    );
}

#[test]
fn removes_and_renames() {
    let record = json!({ "a": { "b": 1, "c": 2 }, "list": [{ "x": 1, "y": 2 }], "id": 7 });
    assert_eq!(
        apply(
            json!([{ "remove": ["a.b", "list.*.x", "absent.z"] }, { "rename": { "a.c": "c", "no": "nope" } }]),
            record
        ),
        json!({ "a": {}, "list": [{ "y": 2 }], "id": 7, "c": 2 })
    );
}

#[test]
fn flattens() {
    let record = json!({ "a": { "b": { "c": 1 }, "d": 2 }, "e": { "f": 3 }, "a_d": 9, "g": {} });
    assert_eq!(
        apply(json!([{ "flatten": {} }]), record.clone()),
        json!({ "a_b_c": 1, "a_d": 2, "e_f": 3, "g": {} })
    );
    assert_eq!(
        apply(
            json!([{ "flatten": { "paths": ["a"], "separator": "." } }]),
            record
        ),
        json!({ "a.b": { "c": 1 }, "a.d": 2, "e": { "f": 3 }, "a_d": 9, "g": {} })
    );
}

#[test]
fn casts_what_can_be_cast() {
    let record = json!({ "i": "42", "n": "1.50", "b": "yes", "t": "1700000000", "ms": 1_700_000_000_123_i64,
        "d": "2024-02-29", "mail": "Fri, 24 May 2019 17:44:46 +0200", "j": "{\"a\":1}", "s": 5, "bad": "x", "f": 3.0, "nil": null, "l": ["1", "2"] });
    let types = json!([{ "cast": { "i": "integer", "n": "number", "b": "boolean", "t": "timestamp", "ms": "timestamp",
        "d": "timestamp", "mail": "timestamp", "j": "json", "s": "string", "bad": "integer", "f": "integer", "nil": "string", "l.*": "integer" } }]);
    assert_eq!(
        apply(types, record),
        json!({ "i": 42, "n": 1.5, "b": true, "t": "2023-11-14T22:13:20Z", "ms": "2023-11-14T22:13:20.123Z",
            "d": "2024-02-29T00:00:00Z", "mail": "2019-05-24T15:44:46Z", "j": { "a": 1 }, "s": "5", "bad": "x", "f": 3, "nil": null, "l": [1, 2] })
    );
}

#[test]
fn changes_case() {
    let record = json!({ "userName": { "First Name": 1 }, "ID": [{ "aB": 1 }] });
    assert_eq!(
        apply(json!([{ "keys": "snake" }]), record.clone()),
        json!({ "user_name": { "first_name": 1 }, "id": [{ "a_b": 1 }] })
    );
    assert_eq!(
        apply(json!([{ "keys": "lower" }]), record),
        json!({ "username": { "first name": 1 }, "id": [{ "ab": 1 }] })
    );
}
