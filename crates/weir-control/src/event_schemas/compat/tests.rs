//! What is said to fit, fits: whatever is valid for the writer is valid for the reader.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({ "type": "string" })),
        Just(json!({ "type": "integer" })),
        Just(json!({ "type": "number" })),
        Just(json!({ "type": "boolean" })),
        Just(json!({ "type": ["string", "null"] })),
        Just(json!({})),
        Just(json!(false)),
        proptest::sample::subsequence(vec!["a", "b", "cc"], 1..=3)
            .prop_map(|values| json!({ "enum": values })),
        (0..3_u32, 2..5_u32)
            .prop_map(|(least, most)| { json!({ "type": "string", "minLength": least, "maxLength": most }) }),
        (-3..3_i32, 0..6_i32).prop_map(|(least, span)| {
            json!({ "type": "integer", "minimum": least, "maximum": least + span })
        }),
        (-3..3_i32).prop_map(|least| json!({ "type": "number", "exclusiveMinimum": least })),
        (1..4_i32).prop_map(|of| json!({ "type": "integer", "multipleOf": of })),
        Just(json!({ "anyOf": [{ "type": "string" }, { "type": "integer" }] })),
        Just(json!({ "oneOf": [{ "type": "string" }, { "type": "null" }] })),
        Just(json!({ "allOf": [{ "type": "integer" }, { "minimum": 0 }] })),
        Just(json!({ "type": "string", "not": { "const": "a" } })),
    ]
}

fn schema() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 24, 3, |inner| {
        let object = (
            proptest::collection::btree_map("[abc]", inner.clone(), 0..3),
            proptest::sample::subsequence(vec!["a", "b", "c"], 0..=3),
            prop_oneof![
                Just(None),
                Just(Some(json!(false))),
                Just(Some(json!(true))),
                inner.clone().prop_map(Some)
            ],
        );
        prop_oneof![
            object.prop_map(|(properties, required, others)| {
                let mut schema = json!({ "type": "object", "properties": properties, "required": required });
                // Without a word a writer is taken to write no other fields, and here it does.
                schema["additionalProperties"] = others.unwrap_or_else(|| json!(false));
                schema
            }),
            (inner, 0..3_u32)
                .prop_map(|(items, least)| json!({ "type": "array", "items": items, "minItems": least })),
        ]
    })
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-5..9_i32).prop_map(Value::from),
        (-5..9_i32).prop_map(|half| json!(f64::from(half) / 2.0)),
        "[abc]{0,5}".prop_map(Value::from),
        Just(json!("cc")),
    ];
    leaf.prop_recursive(3, 24, 3, |inner| {
        prop_oneof![
            proptest::collection::btree_map("[abcd]", inner.clone(), 0..4).prop_map(|map| json!(map)),
            proptest::collection::vec(inner, 0..3).prop_map(Value::from),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn what_fits_accepts_whatever_the_writer_may_write(
        writer in schema(),
        reader in schema(),
        values in proptest::collection::vec(value(), 24),
    ) {
        let writes = jsonschema::validator_for(&writer).unwrap();
        let reads = jsonschema::validator_for(&reader).unwrap();
        let backward = check(Mode::Backward, &[(1, writer.clone())], &reader);
        let forward = check(Mode::Forward, &[(1, reader.clone())], &writer);
        // The same question asked from both ends.
        prop_assert_eq!(backward.is_empty(), forward.is_empty());
        for value in values.iter().filter(|value| writes.is_valid(value)) {
            prop_assert!(
                !backward.is_empty() || reads.is_valid(value),
                "{} fits {}, and {} does not", writer, reader, value
            );
        }
    }

    #[test]
    fn a_schema_fits_itself_in_every_mode(schema in schema()) {
        for mode in Mode::ALL {
            prop_assert_eq!(check(mode, &[(1, schema.clone())], &schema), []);
        }
    }
}
