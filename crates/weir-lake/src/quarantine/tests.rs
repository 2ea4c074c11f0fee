use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use weir_protocol::{StreamDescriptor, SyncMode, WritePlan};

use super::*;
use crate::storage::Storage;
use crate::typed::Rejected;

fn plan() -> WritePlan {
    WritePlan {
        run: "run-1".to_owned(),
        connection: "demo".to_owned(),
        source: "demo".to_owned(),
        stream: StreamDescriptor {
            name: "things".to_owned(),
            entity: "things".to_owned(),
            ..StreamDescriptor::default()
        },
        mode: SyncMode::IncrementalMerge,
        restart: false,
        known_sequence: 0,
        memory_bytes: 1 << 20,
        started_at: "2026-11-21T00:00:00Z".parse().unwrap(),
    }
}

fn rejected(reason: &str, record: &'static [u8]) -> Rejected {
    Rejected {
        place: 0,
        reason: reason.to_owned(),
        column: Some("id".to_owned()),
        record: Bytes::from_static(record),
        cursor: Some(Bytes::from_static(b"\"2026-01-01\"")),
        emitted_at: "2026-11-21T10:00:00Z".parse().unwrap(),
        slice: "".into(),
    }
}

#[tokio::test]
async fn held_records_keep_their_bytes_and_leave_by_decision_only() {
    let folder_on_disk = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder_on_disk.path().to_str().unwrap(), &BTreeMap::new()).unwrap();
    let mut writer = QuarantineWriter::new(storage.clone(), &plan(), "run-1".to_owned(), 1);
    let records = [
        rejected("bad id", br#"{"id":"x"}"#),
        rejected("not an object", b"oops"),
        rejected("bad id", b"\xff"),
    ];
    writer.push(&records).await.unwrap();
    writer.flush(2).await.unwrap();

    let listing = list(&storage, "demo", "things", 10).await.unwrap();
    assert_eq!(listing.total, 3);
    assert_eq!(
        (listing.reasons[0].reason.as_str(), listing.reasons[0].count),
        ("bad id", 2)
    );
    let bytes: Vec<_> = listing.entries.iter().map(|entry| entry.record.clone()).collect();
    assert_eq!(bytes, records.map(|record| record.record));
    assert_eq!(listing.entries[0].cursor.as_deref(), Some(&b"\"2026-01-01\""[..]));

    let entries = chosen(&storage, "demo", "things", &Choice::Reason("bad id".to_owned()))
        .await
        .unwrap();
    let decision = Decision {
        id: "d1".to_owned(),
        verb: Verb::Discarded,
        ids: entries.into_iter().map(|entry| entry.id).collect(),
        by: "me".to_owned(),
        why: "test".to_owned(),
        at: "2026-11-21T11:00:00Z".parse().unwrap(),
        done: false,
    };
    begin(&storage, "demo", "things", &decision).await.unwrap();
    assert_eq!(list(&storage, "demo", "things", 0).await.unwrap().total, 3);
    assert_eq!(
        pending(&storage, "demo", "things").await.unwrap(),
        std::slice::from_ref(&decision)
    );
    finish(&storage, "demo", "things", decision).await.unwrap();
    assert_eq!(list(&storage, "demo", "things", 0).await.unwrap().total, 1);
    assert!(pending(&storage, "demo", "things").await.unwrap().is_empty());

    // A line of Bronze finds its entry by checkpoint, run, time and bytes, and each entry once.
    let mut ledger = Ledger::read(&storage, "demo", "things", None, |_| false)
        .await
        .unwrap();
    let at = listing.entries[0].emitted_at;
    let of = |sequence, record: &[u8]| {
        digest(
            Origin {
                sequence,
                run: "run-1",
            },
            at,
            record,
        )
    };
    assert!(ledger.knows(1) && !ledger.knows(2));
    assert!(ledger.keeps_out(of(1, br#"{"id":"x"}"#)));
    assert!(!ledger.keeps_out(of(1, br#"{"id":"x"}"#)));
    assert!(!ledger.keeps_out(of(2, b"\xff")) && !ledger.keeps_out(of(1, b"oops")));
    assert!(ledger.stays(of(1, b"oops")) && !ledger.stays(of(1, b"oops")));
}

#[tokio::test]
async fn an_unknown_id_is_named() {
    let folder_on_disk = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder_on_disk.path().to_str().unwrap(), &BTreeMap::new()).unwrap();
    let choice = Choice::Ids(BTreeSet::from(["9-9-9".to_owned()]));
    let error = chosen(&storage, "demo", "things", &choice).await.unwrap_err();
    assert!(error.to_string().contains("9-9-9"));
}
