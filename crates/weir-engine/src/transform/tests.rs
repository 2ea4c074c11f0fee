use serde_json::json;

use super::*;
use crate::clock::Clock;

fn apply(steps: Value, record: Value) -> Value {
    serde_json::from_str(&apply_to_text(steps, &record.to_string())).unwrap()
}

/// The record as it is written, which tells numbers apart that values do not.
fn apply_to_text(steps: Value, record: &str) -> String {
    let specs: Vec<Transform> = serde_json::from_value(steps).unwrap();
    let transforms = Transforms::new(&Templates::new(&Clock::system()), "stream x", &specs).unwrap();
    let scope = Scope::new().with("slice", json!({ "repo": "a/b" }));
    let mut exact = Exact::of(&[record.as_bytes()]);
    let mut record = exact.parse(record.as_bytes()).unwrap();
    transforms.apply(&mut record, &scope, &mut exact).unwrap();
    exact.text(&record).unwrap()
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
        json!({ "a_b_c": 1, "a_d_2": 2, "e_f": 3, "a_d": 9, "g": {} })
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

#[test]
fn fields_that_come_to_one_name_are_all_kept() {
    let keys = |case: &str, record: Value| apply(json!([{ "keys": case }]), record);
    // Whoever has the name keeps it, in whatever order they come.
    let both = json!({ "user_id": 1, "user_id_2": 2 });
    assert_eq!(keys("snake", json!({ "userId": 2, "user_id": 1 })), both);
    assert_eq!(keys("snake", json!({ "user_id": 1, "userId": 2 })), both);
    assert_eq!(keys("snake", json!({ "userId": 2 })), json!({ "user_id": 2 }));
    // Where nobody has it the names as they were decide.
    let three = json!({ "user_id": 1, "user_id_2": 2, "user_id_3": 3 });
    assert_eq!(
        keys("snake", json!({ "user-id": 1, "userID": 2, "userId": 3 })),
        three
    );
    assert_eq!(
        keys("snake", json!({ "userId": 3, "user-id": 1, "userID": 2 })),
        three
    );
    // A suffix takes no name away from another field.
    assert_eq!(
        keys("lower", json!({ "A": 1, "a_2": 2, "a": 3, "A_2": 4, "a_3": 5 })),
        json!({ "a": 3, "a_4": 1, "a_2": 2, "a_2_2": 4, "a_3": 5 })
    );
    assert_eq!(
        keys("lower", json!({ "l": [{ "X": 1, "x": { "Y": 2, "y": 3 } }] })),
        json!({ "l": [{ "x": { "y": 3, "y_2": 2 }, "x_2": 1 }] })
    );
    let lifted = json!({ "a": { "b_c": 1 }, "a_b": { "c": 2 }, "a_b_c_2": 3 });
    assert_eq!(
        apply(json!([{ "flatten": {} }]), lifted),
        json!({ "a_b_c": 1, "a_b_c_3": 2, "a_b_c_2": 3 })
    );
}

#[test]
fn numbers_that_are_not_touched_keep_their_digits() {
    let record = r#"{"userId":170141183460469231731687303715884105728,"n":18446744073709551617,"f":0.123456789012345678901234567890,"z":-0.0,"big":1e400,"l":[18446744073709551618,{"x":-18446744073709551617}],"o":{"d":9007199254740993.0},"c":"5"}"#;
    let steps = json!([
        { "cast": { "c": "integer" } },
        { "keys": "snake" },
        { "rename": { "n": "m" } },
        { "flatten": { "paths": ["o"] } },
        { "add": { "one": "{{ record.c + 1 }}", "same": "{{ record.m }}", "is_big": "{{ record.big > 1e300 }}" } },
        { "remove": ["l.0"] },
    ]);
    assert_eq!(
        apply_to_text(steps, record),
        r#"{"user_id":170141183460469231731687303715884105728,"f":0.123456789012345678901234567890,"z":-0.0,"big":1e400,"l":[{"x":-18446744073709551617}],"o_d":9007199254740993.0,"c":5,"m":18446744073709551617,"is_big":true,"one":6,"same":18446744073709551617}"#
    );
}

#[test]
fn casts_go_by_the_digits() {
    let record = r#"{"s":18446744073709551617,"t":{"a":[1e400]},"i":9007199254740993.0,"j":"9007199254740993.0","b":1.00000000000000000001,"n":" 18446744073709551619 ","at":1700000000.123456789,"json":"{\"a\":[0.1000000000000000000001]}","x":0.1}"#;
    let types = json!({ "s": "string", "t": "string", "i": "integer", "j": "integer", "b": "boolean", "n": "number",
        "at": "timestamp", "json": "json" });
    assert_eq!(
        apply_to_text(json!([{ "cast": types }]), record),
        r#"{"s":"18446744073709551617","t":"{\"a\":[1e400]}","i":9007199254740993.0,"j":"9007199254740993.0","b":1.00000000000000000001,"n":18446744073709551619,"at":"2023-11-14T22:13:20.123456789Z","json":{"a":[0.1000000000000000000001]},"x":0.1}"#
    );
}
