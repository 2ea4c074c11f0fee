use super::*;

fn again(text: &str, format: &str) -> Option<String> {
    Moment::parse(text, format).map(|at| at.format(format))
}

#[test]
fn formats_of_manifests_read_and_write_back() {
    for (text, format) in [
        ("2025-06-15", "%Y-%m-%d"),
        ("2025-06-15T12:00:00Z", "%Y-%m-%dT%H:%M:%SZ"),
        ("2025-06-15T12:00:00.123Z", "%Y-%m-%dT%H:%M:%S.%_msZ"),
        ("2025-06-15T12:00:00.123456+0200", "%Y-%m-%dT%H:%M:%S.%f%z"),
        ("1749988800", "%s"),
        ("1749988800123", "%ms"),
        ("1749988800123456", "%epoch_microseconds"),
        ("1749988800.5", "%s_as_float"),
        ("Sun, 15 Jun 2025 12:00:00", "%a, %d %b %Y %H:%M:%S"),
        ("06/15/2025 01:05 PM", "%m/%d/%Y %I:%M %p"),
        ("20250615", "%Y%m%d"),
    ] {
        assert_eq!(again(text, format).as_deref(), Some(text), "{format}");
    }
    for (text, format) in [
        ("2025-06-15", "%Y-%m-%dT%H:%M:%SZ"),
        ("2025-02-30", "%Y-%m-%d"),
        ("2025-06-15 ", "%Y-%m-%d"),
        ("12.5", "%s"),
        ("x", "%ms"),
    ] {
        assert_eq!(again(text, format), None, "{text} {format}");
    }
}

#[test]
fn iso_texts_of_many_shapes_are_read() {
    let read = |text: &str| isoparse(text).map(|at| at.isoformat('T'));
    assert_eq!(read("2025-06").as_deref(), Some("2025-06-01T00:00:00"));
    assert_eq!(
        read("20250615T1200Z").as_deref(),
        Some("2025-06-15T12:00:00+00:00")
    );
    assert_eq!(
        read("2025-06-15 12:00:00.5-05:30").as_deref(),
        Some("2025-06-15T12:00:00.500000-05:30")
    );
    assert_eq!(read("2025-13-01"), None);
    assert_eq!(read("yesterday"), None);
}

#[test]
fn durations_add_to_dates() {
    let at = Moment::parse("2025-01-31", "%Y-%m-%d").unwrap();
    let after = |text: &str| at.plus(parse_duration(text).unwrap()).unwrap().format("%Y-%m-%d");
    assert_eq!(after("P1M"), "2025-02-28");
    assert_eq!(after("P1Y2M3D"), "2026-04-03");
    assert_eq!(after("P2W"), "2025-02-14");
    assert_eq!(after("-P1D"), "2025-01-30");
    assert_eq!(parse_duration("PT1.5S"), Some(Delta::micros(1_500_000)));
    assert_eq!(parse_duration("1D"), None);
    assert_eq!(parse_duration("P"), None);
}

proptest::proptest! {
    #[test]
    fn no_text_or_format_panics(text in ".{0,30}", format in "[%a-zA-Z0-9_:. -]{0,20}") {
        let _ = Moment::parse(&text, &format).map(|at| at.format(&format));
        let _ = isoparse(&text);
        let _ = parse_duration(&text);
    }

    #[test]
    fn instants_survive_a_round_trip(micros in -60_000_000_000_000_000_i64..250_000_000_000_000_000) {
        let at = Moment::utc(micros);
        let again = Moment::parse(&at.format("%Y-%m-%dT%H:%M:%S.%f%z"), "%Y-%m-%dT%H:%M:%S.%f%z").unwrap();
        proptest::prop_assert_eq!(again.micros, micros);
    }
}
