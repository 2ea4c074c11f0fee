use proptest::prelude::*;
use serde_json::json;

use super::*;

fn parse(format: &str, value: &Value) -> Option<Point> {
    let format: Format = format.parse().unwrap();
    let raw = format.parse_raw(value.to_string().as_bytes());
    assert_eq!(
        raw,
        format.parse_value(value),
        "raw and tree must agree on {value}"
    );
    raw
}

fn instant(text: &str) -> Option<Point> {
    Some(Point::Instant(text.parse().unwrap()))
}

#[test]
fn reads_every_format() {
    let expected = instant("2024-02-29T10:00:00Z");
    assert_eq!(parse("rfc3339", &json!("2024-02-29T12:00:00+02:00")), expected);
    assert_eq!(parse("rfc3339", &json!("2024-02-29T10:00:00")), expected);
    assert_eq!(parse("rfc3339", &json!("2024-02-29 10:00:00Z")), expected);
    assert_eq!(
        parse("date", &json!("2024-02-29")),
        instant("2024-02-29T00:00:00Z")
    );
    assert_eq!(parse("epoch_s", &json!(1_709_200_800)), expected);
    assert_eq!(parse("epoch_s", &json!("1709200800.0")), expected);
    assert_eq!(parse("epoch_ms", &json!(1_709_200_800_000_i64)), expected);
    assert_eq!(parse("epoch_us", &json!(1_709_200_800_000_000_i64)), expected);
    assert_eq!(parse("%d/%m/%Y %H:%M", &json!("29/02/2024 10:00")), expected);
    assert_eq!(
        parse("%Y-%m-%dT%H:%M:%S%z", &json!("2024-02-29T12:00:00+0200")),
        expected
    );
    assert_eq!(parse("%Y-%m", &json!("2024-02")), instant("2024-02-01T00:00:00Z"));
    assert_eq!(parse("integer", &json!(42)), Some(Point::Integer(42)));
    assert_eq!(parse("integer", &json!("42")), Some(Point::Integer(42)));
    assert_eq!(
        parse("string", &json!("a\"b")),
        Some(Point::Text("a\"b".to_owned()))
    );
}

#[test]
fn what_does_not_fit_is_none() {
    for (format, value) in [
        ("rfc3339", json!("yesterday")),
        ("rfc3339", json!(null)),
        ("epoch_s", json!("12a")),
        ("epoch_s", json!(1e300)),
        ("integer", json!(1.5)),
        ("date", json!("2024-02-30")),
        ("string", json!({})),
    ] {
        assert_eq!(parse(format, &value), None, "{format} {value}");
    }
}

#[test]
fn names_the_nearest_format() {
    let error = "rfc_3339".parse::<Format>().unwrap_err();
    assert_eq!(error.next_step(), Some("did you mean 'rfc3339'?"));
    assert!("nonsense".parse::<Format>().is_err());
}

#[test]
fn several_formats_are_tried_in_order() {
    let formats = Formats::new(&CursorFormats::Any(vec!["rfc3339".into(), "date".into()])).unwrap();
    assert_eq!(
        formats.parse_raw(b"\"2024-02-29\""),
        instant("2024-02-29T00:00:00Z")
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read(seconds in -2_000_000_000_i64..4_000_000_000, format in prop::sample::select(vec![
        "rfc3339", "epoch_s", "epoch_ms", "epoch_us", "%Y-%m-%d %H:%M:%S", "%Y%m%dT%H%M%SZ",
    ])) {
        let point = Point::Instant(Timestamp::from_second(seconds).unwrap());
        let format: Format = format.parse().unwrap();
        let written = format.write(&point).unwrap();
        prop_assert_eq!(format.parse_value(&written), Some(point.clone()));
        prop_assert_eq!(format.parse_raw(written.to_string().as_bytes()), Some(point));
    }

    #[test]
    fn any_text_is_read_without_panic(text in ".*", format in prop::sample::select(vec![
        "rfc3339", "date", "epoch_s", "integer", "string", "%d.%m.%Y",
    ])) {
        let format: Format = format.parse().unwrap();
        format.parse_text(&text);
        format.parse_raw(text.as_bytes());
    }
}

#[test]
fn only_formats_that_are_all_times_compare_with_a_clock() {
    let are_times = |formats: Value| {
        let formats: CursorFormats = serde_json::from_value(formats).unwrap();
        Formats::new(&formats).unwrap().are_times()
    };
    assert!(are_times(json!(["epoch_s", "rfc3339", "%Y-%m"])));
    assert!(are_times(json!("%Y-%m-%dT%H:%M:%S%z")) && !are_times(json!("%Y-%m-%d %H:%M:%S")));
    assert!(!are_times(json!(["rfc3339", "integer"])) && !are_times(json!("string")));
}
