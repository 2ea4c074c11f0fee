use std::collections::BTreeMap;

use bytes::Bytes;
use weir_protocol::{StreamDescriptor, SyncMode};

use super::*;

fn plan() -> weir_protocol::WritePlan {
    weir_protocol::WritePlan {
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

fn batch(records: &[&[u8]]) -> weir_protocol::Batch {
    let mut body = Vec::new();
    let mut spans = Vec::new();
    for record in records {
        spans.push(weir_protocol::Record {
            start: u32::try_from(body.len()).unwrap(),
            len: u32::try_from(record.len()).unwrap(),
            cursor_start: 0,
            cursor_len: 0,
        });
        body.extend_from_slice(record);
    }
    weir_protocol::Batch {
        slice: "".into(),
        body: Bytes::from(body),
        records: spans,
        filtered: 0,
        deduplicated: 0,
        emitted_at: "2026-11-21T23:59:59.5Z".parse().unwrap(),
    }
}

async fn read_all(storage: &Storage, folder: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for (_, meta) in objects(storage, folder).await.unwrap() {
        let body = storage.get(&meta.location).await.unwrap();
        for batch in batches(meta.location.clone(), body).unwrap() {
            let batch = batch.unwrap();
            found.extend(batch.records.iter().map(|record| batch.json(record).to_vec()));
        }
    }
    found
}

#[tokio::test]
async fn what_was_written_is_read_back_byte_for_byte() {
    let folder_on_disk = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder_on_disk.path().to_str().unwrap(), &BTreeMap::new()).unwrap();
    let records: &[&[u8]] = &[
        br#"{"id": 1,  "t": "x\ny"}"#,
        b"not json",
        b"\xff\xfe",
        br#"{"id":18446744073709551616.50}"#,
        b"[1,2]",
    ];
    let mut writer = BronzeWriter::new(storage.clone(), &plan(), 1).unwrap();
    writer.write(&batch(records), &[1, 2]).await.unwrap();
    assert!(writer.flush(2).await.unwrap() > 0);
    let folder = folder("demo", "things");
    assert_eq!(read_all(&storage, &folder).await, records);
}

#[tokio::test]
async fn a_pretty_printed_record_becomes_one_line() {
    let folder_on_disk = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder_on_disk.path().to_str().unwrap(), &BTreeMap::new()).unwrap();
    let mut writer = BronzeWriter::new(storage.clone(), &plan(), 1).unwrap();
    writer.write(&batch(&[b"{\n \"id\": 1\r\n}"]), &[]).await.unwrap();
    writer.flush(2).await.unwrap();
    let folder = folder("demo", "things");
    assert_eq!(read_all(&storage, &folder).await, [b"{  \"id\": 1  }"]);
}

#[tokio::test]
async fn orphans_are_removed_and_a_repeated_write_overwrites_itself() {
    let folder_on_disk = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder_on_disk.path().to_str().unwrap(), &BTreeMap::new()).unwrap();
    let folder = folder("demo", "things");
    for sequence in [1, 1, 2] {
        let mut writer = BronzeWriter::new(storage.clone(), &plan(), sequence).unwrap();
        writer.write(&batch(&[b"{}"]), &[]).await.unwrap();
        writer.flush(sequence + 1).await.unwrap();
    }
    assert_eq!(objects(&storage, &folder).await.unwrap().len(), 2);
    assert_eq!(remove_after(&storage, &folder, 1, None).await.unwrap(), 1);
    assert_eq!(read_all(&storage, &folder).await.len(), 1);
}
