//! Integers that a double does not hold: whatever comes in whatever order, none of them is rounded.

use arrow::array::AsArray;
use arrow::datatypes::Float64Type;

use super::*;

/// Two to the 53rd, and one more.
const BEYOND: i64 = 9_007_199_254_740_993;

fn declared(properties: Value) -> WritePlan {
    plan(
        Some(json!({ "type": "object", "properties": properties })),
        Contract::Evolve,
    )
}

fn types(typer: &Typer) -> Vec<String> {
    let fields = typer.schema().fields().iter();
    fields
        .map(|field| format!("{} {}", field.name(), field.data_type()))
        .collect()
}

#[test]
fn a_double_column_takes_only_integers_that_it_holds() {
    let wish = declared(json!({ "id": { "type": "integer" }, "n": { "type": "number" } }));
    let mut typer = Typer::new(&wish, None, b"key").unwrap();
    let texts = [
        "9007199254740992",
        "9007199254740993",
        "-9007199254740994",
        "-9007199254740993",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "18446744073709551617",
        "1e999",
        "0.5",
    ];
    let records: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(id, text)| format!(r#"{{"id":{id},"n":{text}}}"#).into_bytes())
        .collect();
    let decoded = typer.decode(&batch(&records)).unwrap();
    let column = decoded.rows.column_by_name("n").unwrap();
    let landed = column.as_primitive::<Float64Type>().values().to_vec();
    let two = 2_f64;
    assert_eq!(
        landed,
        [
            two.powi(53),
            -9_007_199_254_740_994.0,
            -two.powi(63),
            two.powi(64),
            0.5
        ]
    );
    let places: Vec<_> = decoded.quarantined.iter().map(|held| held.place).collect();
    assert_eq!(places, [1, 3, 4, 6, 8, 9]);
    let reasons = reasons(&decoded);
    let (last, integers) = reasons.split_last().unwrap();
    assert_eq!(*last, "column 'n': the number does not fit 64 bits");
    for reason in integers {
        assert_eq!(
            *reason,
            "column 'n': the integer has more digits than a double holds"
        );
    }
}

#[test]
fn a_new_column_of_fractions_and_such_integers_is_text() {
    let mut typer = typer(Contract::Evolve);
    let decoded = typer
        .decode(&of(&[
            json!({"id": 1, "x": BEYOND, "y": BEYOND - 1}),
            json!({"id": 2, "x": 1.5, "y": 1.5}),
        ]))
        .unwrap();
    assert_eq!(types(&typer), ["id Int64", "x Utf8", "y Float64"]);
    let x = decoded.rows.column_by_name("x").unwrap();
    assert_eq!(
        x.as_string::<i32>().iter().flatten().collect::<Vec<_>>(),
        ["9007199254740993", "1.5"]
    );
    assert!(decoded.quarantined.is_empty());
}

#[test]
fn a_long_column_with_such_integers_stays_long() {
    let values = |x: Value| json!({"id": 1, "x": x, "deep": [{ "n": [x] }]});
    // In the same page, in one before, and in none.
    for (first, second, held) in [
        (vec![json!(1)], vec![json!(BEYOND), json!(1.5)], 1),
        (vec![json!(1)], vec![json!(1.5), json!(BEYOND)], 1),
        (vec![json!(BEYOND)], vec![json!(2), json!(1.5)], 1),
        (vec![json!(1), json!(BEYOND - 1)], vec![json!(1.5), json!(2)], 0),
    ] {
        let mut typer = typer(Contract::Evolve);
        let page = |xs: Vec<Value>| of(&xs.into_iter().map(values).collect::<Vec<_>>());
        let before = typer.decode(&page(first)).unwrap().rows;
        let decoded = typer.decode(&page(second)).unwrap();
        assert_eq!(decoded.quarantined.len(), held, "{:?}", reasons(&decoded));
        assert_eq!(decoded.changes.is_empty(), held == 1);
        assert_eq!(typer.inexact().is_empty(), held == 0);
        if held == 1 {
            assert_eq!(reasons(&decoded), ["column 'x': expected integer, got number"]);
            let known = serde_json::to_string(&typer.inexact()).unwrap();
            assert_eq!(known, r#"[["deep","[]","n","[]"],["x"]]"#);
        }
        conform(&before, &typer.row_schema()).unwrap();
    }
}

#[test]
fn a_record_that_is_held_says_nothing_of_later_ones() {
    let mut typer = typer(Contract::Evolve);
    typer.decode(&of(&[json!({"id": 1, "x": 1, "t": 1})])).unwrap();
    let held = json!({"id": 2, "x": BEYOND, "t": "text"});
    assert_eq!(typer.decode(&of(&[held])).unwrap().quarantined.len(), 1);
    let decoded = typer.decode(&of(&[json!({"id": 3, "x": 1.5, "t": 1})])).unwrap();
    assert!(decoded.quarantined.is_empty(), "{:?}", reasons(&decoded));
    assert_eq!(types(&typer), ["id Int64", "x Float64", "t Int64"]);
}

#[test]
fn what_is_known_of_a_table_counts_for_data_and_declaration() {
    let mut first = typer(Contract::Evolve);
    first
        .decode(&of(&[json!({"id": 1, "x": BEYOND, "y": 1})]))
        .unwrap();
    let (table, known) = (Arc::clone(first.schema()), first.inexact());
    let open =
        |wish: &WritePlan| Typer::with_children(wish, Some(Arc::clone(&table)), &[], &known, b"key").unwrap();
    let record = of(&[json!({"id": 2, "x": 1.5}), json!({"id": 3, "y": 1.5})]);
    let mut again = open(&plan(None, Contract::Evolve));
    let decoded = again.decode(&record).unwrap();
    assert_eq!(reasons(&decoded), ["column 'x': expected integer, got number"]);
    assert_eq!(types(&again), ["id Int64", "x Int64", "y Float64"]);

    let number = json!({ "type": "number" });
    let mut again = open(&declared(json!({ "x": number.clone(), "y": number })));
    let conflicts: Vec<_> = again
        .conflicts()
        .into_iter()
        .map(|change| change.column)
        .collect();
    assert_eq!(conflicts, ["x"]);
    assert_eq!(again.decode(&record).unwrap().rows.num_rows(), 1);
    assert_eq!(types(&again), ["id Int64", "x Int64", "y Float64"]);
    assert_eq!(again.inexact(), known);
}

#[test]
fn rows_that_would_be_rounded_are_refused() {
    let wide = Typer::new(&declared(json!({ "n": { "type": "number" } })), None, b"key").unwrap();
    let mut long = Typer::new(&declared(json!({ "n": { "type": "integer" } })), None, b"key").unwrap();
    for (n, fits) in [(BEYOND - 1, true), (BEYOND, false)] {
        let mut record = json!({ "n": n });
        record["id"] = json!(1);
        let rows = long.decode(&of(&[record])).unwrap().rows;
        let schema = conform(&rows, &long.row_schema()).unwrap().schema();
        let mut fields = schema.fields().to_vec();
        let index = schema.index_of("n").unwrap();
        fields[index] = Arc::clone(&wide.schema().fields()[0]);
        let to: SchemaRef = Arc::new(Schema::new(fields));
        let adapted = crate::table::adapt::adapt(&rows, &to);
        match conform(&rows, &to) {
            Ok(conformed) => {
                assert!(fits);
                assert_eq!(conformed, adapted.unwrap());
            }
            Err(error) => {
                assert!(!fits);
                assert!(
                    error.next_step().is_some() && error.to_string().contains("'n'"),
                    "{error}"
                );
                assert!(adapted.unwrap_err().to_string().contains("'n'"));
            }
        }
    }
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(1)),
        Just(json!(1.5)),
        Just(json!(BEYOND)),
        Just(json!(BEYOND - 1)),
        Just(json!(-(1_i64 << 60))),
        Just(json!(i64::MAX)),
        Just(json!(u64::MAX)),
        (-9..9_i64).prop_map(|near| json!((1_i64 << 56) + near)),
    ]
}

proptest! {
    /// Rows of every page, also of those before a change, hold in the last schema what their records said.
    #[test]
    fn no_order_of_pages_rounds(pages in prop::collection::vec(prop::collection::vec(number(), 1..4), 1..6)) {
        let mut typer = typer(Contract::Evolve);
        let mut typed = Vec::new();
        for page in &pages {
            let records: Vec<Value> = page.iter().map(|n| json!({"id": 1, "n": n})).collect();
            let decoded = typer.decode(&of(&records)).unwrap();
            let held: Vec<usize> = decoded.quarantined.iter().map(|held| held.place).collect();
            let places = (0..page.len()).filter(|place| !held.contains(place));
            let given: Vec<Value> = places.map(|place| page[place].clone()).collect();
            typed.push((decoded.rows, given));
        }
        for (rows, given) in typed {
            let rows = conform(&rows, &typer.row_schema()).unwrap();
            let column = rows.column_by_name("n").unwrap();
            for (row, given) in given.iter().enumerate() {
                let shown = arrow::util::display::array_value_to_string(column, row).unwrap();
                let said = given.to_string();
                let same = match (given.as_i64(), shown.parse::<f64>()) {
                    (Some(given), Ok(shown)) if column.as_primitive_opt::<Float64Type>().is_some() => {
                        shown as i128 == i128::from(given)
                    }
                    _ => said == shown,
                };
                prop_assert!(same, "{given} became {shown}");
            }
        }
    }
}
