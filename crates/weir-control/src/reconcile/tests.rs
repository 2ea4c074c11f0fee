use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::twins::Api;

fn digests(ids: &[u16]) -> impl Stream<Item = Result<Entry>> + use<> {
    let keys: Vec<_> = ids
        .iter()
        .map(|id| Ok(of_key(key_digest([&json!(id)]))))
        .collect();
    stream::iter(keys)
}

fn of_key(key: Digest) -> Entry {
    Entry { key, version: 0 }
}

#[tokio::test]
async fn a_row_whose_cursor_is_not_the_sources_is_stale() {
    let entries = |cursors: &[(u16, Option<&str>)]| {
        let entries: Vec<Entry> = cursors
            .iter()
            .map(|(id, cursor)| Entry {
                key: key_digest([&json!(id)]),
                version: version(cursor.map(str::as_bytes)),
            })
            .collect();
        entries
    };
    let source = entries(&[
        (1, Some("\"a\"")),
        (2, Some("\"b\"")),
        (3, None),
        (4, Some("7")),
        (4, Some("6")),
    ]);
    // The second was edited since, the third lost its cursor; the fourth was given twice.
    let lake = entries(&[
        (1, Some("a")),
        (2, Some("\"a\"")),
        (3, Some("\"c\"")),
        (4, Some("7")),
    ]);
    let scratch = tempfile::tempdir().unwrap();
    let report = compare(
        stream::iter(source.into_iter().map(|entry| Ok(Some(entry)))),
        stream::iter(lake.into_iter().map(Ok)),
        scratch.path(),
    )
    .await
    .unwrap();
    assert_eq!(
        (report.stale, report.missing, report.extra, report.doubled),
        (2, 0, 0, 0)
    );
    assert!(!report.is_complete());
}

#[tokio::test]
async fn a_record_without_a_key_is_counted_and_does_not_end_the_comparison() {
    let key = ["id".to_owned()];
    let records = [
        &br#"{"id":1}"#[..],
        br#"{"id":null}"#,
        br#"{"name":"x"}"#,
        b"[]",
        b"{",
    ];
    let source: Vec<_> = records
        .iter()
        .map(|record| Ok(digest::record_digest(record, &key).map(of_key)))
        .collect();
    let scratch = tempfile::tempdir().unwrap();
    let report = compare(stream::iter(source), digests(&[1]), scratch.path())
        .await
        .unwrap();
    let expected = Report {
        source_records: 5,
        keyless: 4,
        lake_rows: 1,
        checked: 1,
        ..Report::default()
    };
    assert_eq!(report, expected);
    assert!(!report.is_complete());
}

async fn compared(source: &[u16], lake: &[u16]) -> Report {
    let scratch = tempfile::tempdir().unwrap();
    compare(digests(source).map_ok(Some), digests(lake), scratch.path())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_source_is_compared_with_what_the_lake_holds() {
    let api = Api::new((1..=10).map(|id| (id, id)));
    let stream = StreamDescriptor {
        name: "orders".to_owned(),
        primary_key: vec!["id".to_owned()],
        ..StreamDescriptor::default()
    };
    let scratch = tempfile::tempdir().unwrap();
    let keys = source_keys(&api, &stream, false).unwrap();
    let report = compare(keys, digests(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 77]), scratch.path())
        .await
        .unwrap();
    let expected = Report {
        source_records: 10,
        keyless: 0,
        lake_rows: 11,
        checked: 11,
        missing: 1,
        extra: 1,
        doubled: 1,
        stale: 0,
    };
    assert_eq!(report, expected);
    assert!(!report.is_complete());
    assert!(source_keys(&api, &StreamDescriptor::default(), false).is_err());
}

#[tokio::test]
async fn a_sources_failure_is_no_result() {
    let mut api = Api::new((1..=10).map(|id| (id, id)));
    api.fails_at_page = Some(2);
    let stream = StreamDescriptor {
        primary_key: vec!["id".to_owned()],
        ..StreamDescriptor::default()
    };
    let scratch = tempfile::tempdir().unwrap();
    let keys = source_keys(&api, &stream, false).unwrap();
    compare(keys, digests(&[]), scratch.path()).await.unwrap_err();
}

#[test]
fn a_record_and_its_values_have_the_same_digest() {
    let record = br#"{"a": {"b\u0063": "x"}, "n": 12, "rest": [1, {"id": 3}]}"#;
    let key = ["a.bc".to_owned(), "n".to_owned()];
    let digest = digest::record_digest(record, &key);
    assert_eq!(digest, Some(key_digest([&json!("x"), &json!(12)])));
    assert_eq!(digest, Some(key_digest([&json!("x"), &json!("12")])));
    assert_ne!(digest, Some(key_digest([&json!("x1"), &json!("2")])));
    assert!(digest::record_digest(record, &["a.c".to_owned()]).is_none());
    assert!(digest::record_digest(b"[]", &key).is_none());
    assert_ne!(key_digest([&Value::Null]), key_digest([&json!("")]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn it_agrees_with_counting(
        source in prop::collection::vec(0_u16..300, 0..200),
        lake in prop::collection::vec(0_u16..300, 0..200),
    ) {
        let mut counts: BTreeMap<u16, (u64, u64)> = BTreeMap::new();
        source.iter().for_each(|id| counts.entry(*id).or_default().0 += 1);
        lake.iter().for_each(|id| counts.entry(*id).or_default().1 += 1);
        let how_many = |wanted: fn(&(u64, u64)) -> bool| counts.values().filter(|count| wanted(count)).count() as u64;
        let expected = Report {
            source_records: source.len() as u64,
            keyless: 0,
            lake_rows: lake.len() as u64,
            checked: counts.len() as u64,
            missing: how_many(|(_, lake)| *lake == 0),
            extra: how_many(|(source, _)| *source == 0),
            doubled: how_many(|(_, lake)| *lake > 1),
            stale: 0,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        prop_assert_eq!(runtime.block_on(compared(&source, &lake)), expected);
    }
}
