//! Every kind of change, and whether it fits each way.

use serde_json::{Value, json};

use super::*;

/// A field before and after, and whether the change fits backward and forward.
#[expect(clippy::too_many_lines, reason = "one table")]
fn fields() -> Vec<(&'static str, Value, Value, bool, bool)> {
    let s = || json!({ "type": "string" });
    let i = || json!({ "type": "integer" });
    let n = || json!({ "type": "number" });
    let en = |values: &[&str]| json!({ "enum": values });
    let object = |more: Value| {
        let mut whole = json!({ "type": "object" });
        whole
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        whole
    };
    vec![
        ("nothing", s(), s(), true, true),
        (
            "a description",
            s(),
            json!({ "type": "string", "description": "x" }),
            true,
            true,
        ),
        ("integer to number", i(), n(), true, false),
        ("number to integer", n(), i(), false, true),
        ("string to integer", s(), i(), false, false),
        (
            "null is allowed",
            s(),
            json!({ "type": ["string", "null"] }),
            true,
            false,
        ),
        (
            "null is no longer allowed",
            json!({ "type": ["string", "null"] }),
            s(),
            false,
            true,
        ),
        ("any type to one", json!({}), s(), false, true),
        ("one type to any", s(), json!({}), true, false),
        ("a value more", en(&["a"]), en(&["a", "b"]), true, false),
        ("a value less", en(&["a", "b"]), en(&["a"]), false, true),
        ("listed values to any text", en(&["a"]), s(), true, false),
        (
            "const to enum",
            json!({ "const": "a" }),
            en(&["a", "b"]),
            true,
            false,
        ),
        (
            "minimum is raised",
            json!({ "type": "integer", "minimum": 1 }),
            json!({ "type": "integer", "minimum": 2 }),
            false,
            true,
        ),
        (
            "minimum is dropped",
            json!({ "type": "integer", "minimum": 1 }),
            i(),
            true,
            false,
        ),
        (
            "minimum becomes exclusive",
            json!({ "type": "number", "minimum": 1 }),
            json!({ "type": "number", "exclusiveMinimum": 1 }),
            false,
            true,
        ),
        (
            "maximum is lowered",
            json!({ "type": "number", "maximum": 9 }),
            json!({ "type": "number", "maximum": 8 }),
            false,
            true,
        ),
        (
            "multipleOf is refined",
            json!({ "type": "integer", "multipleOf": 10 }),
            json!({ "type": "integer", "multipleOf": 5 }),
            true,
            false,
        ),
        (
            "maxLength is raised",
            json!({ "type": "string", "maxLength": 5 }),
            json!({ "type": "string", "maxLength": 9 }),
            true,
            false,
        ),
        (
            "minLength is added",
            s(),
            json!({ "type": "string", "minLength": 1 }),
            false,
            true,
        ),
        (
            "minLength 0 is added",
            s(),
            json!({ "type": "string", "minLength": 0 }),
            true,
            true,
        ),
        (
            "a pattern is added",
            s(),
            json!({ "type": "string", "pattern": "^a" }),
            false,
            true,
        ),
        (
            "a pattern changes",
            json!({ "type": "string", "pattern": "^a" }),
            json!({ "type": "string", "pattern": "^b" }),
            false,
            false,
        ),
        (
            "a format is added",
            s(),
            json!({ "type": "string", "format": "uuid" }),
            false,
            true,
        ),
        (
            "items get a type",
            json!({ "type": "array" }),
            json!({ "type": "array", "items": s() }),
            false,
            true,
        ),
        (
            "items widen",
            json!({ "type": "array", "items": i() }),
            json!({ "type": "array", "items": n() }),
            true,
            false,
        ),
        (
            "maxItems is added",
            json!({ "type": "array" }),
            json!({ "type": "array", "maxItems": 3 }),
            false,
            true,
        ),
        (
            "items become unique",
            json!({ "type": "array" }),
            json!({ "type": "array", "uniqueItems": true }),
            false,
            true,
        ),
        (
            "an optional field is added",
            object(json!({})),
            object(json!({ "properties": { "a": s() } })),
            true,
            true,
        ),
        (
            "an optional field is removed",
            object(json!({ "properties": { "a": s() } })),
            object(json!({})),
            true,
            true,
        ),
        (
            "a required field is added",
            object(json!({})),
            object(json!({ "properties": { "a": s() }, "required": ["a"] })),
            false,
            true,
        ),
        (
            "a required field is removed",
            object(json!({ "properties": { "a": s() }, "required": ["a"] })),
            object(json!({})),
            true,
            false,
        ),
        (
            "required becomes optional",
            object(json!({ "properties": { "a": s() }, "required": ["a"] })),
            object(json!({ "properties": { "a": s() } })),
            true,
            false,
        ),
        (
            "optional becomes required",
            object(json!({ "properties": { "a": s() } })),
            object(json!({ "properties": { "a": s() }, "required": ["a"] })),
            false,
            true,
        ),
        (
            "a field is added to a closed object",
            object(json!({ "additionalProperties": false })),
            object(json!({ "additionalProperties": false, "properties": { "a": s() } })),
            true,
            false,
        ),
        (
            "a field is removed from a closed object",
            object(json!({ "additionalProperties": false, "properties": { "a": s() } })),
            object(json!({ "additionalProperties": false })),
            false,
            true,
        ),
        (
            "an object is closed",
            object(json!({ "properties": { "a": s() } })),
            object(json!({ "properties": { "a": s() }, "additionalProperties": false })),
            true,
            true,
        ),
        (
            "an object that says it is open is closed",
            object(json!({ "additionalProperties": true })),
            object(json!({ "additionalProperties": false })),
            false,
            true,
        ),
        (
            "a field of an open object gets a type",
            object(json!({ "additionalProperties": true })),
            object(json!({ "additionalProperties": true, "properties": { "a": s() } })),
            false,
            true,
        ),
        (
            "other fields widen",
            object(json!({ "additionalProperties": i() })),
            object(json!({ "additionalProperties": n() })),
            true,
            false,
        ),
        (
            "a field deep inside narrows",
            object(json!({ "properties": { "a": object(json!({ "properties": { "b": n() } })) } })),
            object(json!({ "properties": { "a": object(json!({ "properties": { "b": i() } })) } })),
            false,
            true,
        ),
        (
            "an alternative is added",
            json!({ "anyOf": [s()] }),
            json!({ "anyOf": [s(), i()] }),
            true,
            false,
        ),
        (
            "one becomes an alternative",
            s(),
            json!({ "oneOf": [s(), i()] }),
            true,
            false,
        ),
        (
            "alternatives that overlap",
            i(),
            json!({ "oneOf": [i(), n()] }),
            false,
            false,
        ),
        (
            "allOf of what was one",
            json!({ "type": "integer", "minimum": 1 }),
            json!({ "allOf": [i(), { "minimum": 1 }] }),
            true,
            true,
        ),
        (
            "a condition is added",
            s(),
            json!({ "type": "string", "not": { "const": "x" } }),
            false,
            true,
        ),
        ("a field is forbidden", s(), json!(false), false, true),
        (
            "minProperties is added",
            object(json!({})),
            object(json!({ "minProperties": 1 })),
            false,
            true,
        ),
        (
            "dependentRequired is added",
            object(json!({})),
            object(json!({ "dependentRequired": { "a": ["b"] } })),
            false,
            true,
        ),
        (
            "patternProperties are added",
            object(json!({})),
            object(json!({ "patternProperties": { "^a": s() } })),
            false,
            true,
        ),
    ]
}

fn whole(field: &Value) -> Value {
    json!({ "type": "object", "properties": { "f": field }, "required": ["f"] })
}

#[test]
fn every_kind_of_change_fits_as_it_should() {
    let all = fields();
    assert!(all.len() >= 30);
    for (name, before, after, backward, forward) in all {
        let old = [(1, whole(&before))];
        let new = whole(&after);
        for (mode, fits) in [
            (Mode::None, true),
            (Mode::Backward, backward),
            (Mode::Forward, forward),
            (Mode::Full, backward && forward),
        ] {
            let breaches = check(mode, &old, &new);
            assert_eq!(breaches.is_empty(), fits, "{name} in mode {mode}: {breaches:#?}");
            for breach in breaches {
                assert!(breach.field.starts_with("$.f"), "{name}: {breach}");
                assert!(!breach.message.is_empty() && !breach.next.is_empty());
            }
        }
    }
}

#[test]
fn a_transitive_mode_looks_at_all_versions() {
    let versions = [
        (1, whole(&json!({ "type": "string" }))),
        (2, whole(&json!({ "type": ["string", "integer"] }))),
    ];
    let new = whole(&json!({ "type": ["integer", "string", "boolean"] }));
    assert!(check(Mode::BackwardTransitive, &versions, &new).is_empty());
    let only_second = whole(&json!({ "enum": ["a", 1] }));
    assert!(check(Mode::Forward, &versions, &only_second).is_empty());
    let breaches = check(Mode::ForwardTransitive, &versions, &only_second);
    assert_eq!(
        breaches.iter().map(|breach| breach.version).collect::<Vec<_>>(),
        [1]
    );
    assert_eq!(breaches[0].rule, "enum");
    let both = check(Mode::FullTransitive, &versions, &only_second);
    assert!(both.len() > breaches.len());
}

#[test]
fn references_inside_of_a_schema_are_followed() {
    let with = |kind: &str| {
        json!({
            "type": "object",
            "$defs": { "id": { "type": kind }, "tree": { "type": "object", "properties": { "next": { "$ref": "#/$defs/tree" } } } },
            "properties": { "f": { "$ref": "#/$defs/id" }, "t": { "$ref": "#/$defs/tree" } },
        })
    };
    assert!(check(Mode::Full, &[(1, with("string"))], &with("string")).is_empty());
    let breaches = check(Mode::Backward, &[(1, with("number"))], &with("integer"));
    assert_eq!(breaches[0].field, "$.f");
}

#[test]
fn a_refusal_says_which_field_which_rule_and_what_to_do() {
    let old = [(3, whole(&json!({ "type": "object" })))];
    let new = whole(&json!({ "type": "object", "required": ["id"] }));
    let breaches = check(Mode::Backward, &old, &new);
    assert_eq!(
        breaches[0].to_string(),
        "$.f.id (required): data of version 3 may lack this field, and the new version requires it; \
         leave 'id' out of `required`"
    );
    let breaches = check(Mode::Forward, &[(3, new)], &old[0].1);
    assert_eq!(
        breaches[0].to_string(),
        "$.f.id (required): data of the new version may lack this field, and readers of version 3 require it; \
         keep 'id' in `required`"
    );
}
