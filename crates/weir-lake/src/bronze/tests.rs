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

/// Lines of a block are compressed together, blocks are one frame, and an object ends at its limit; a record larger than
/// a block is one block.
#[tokio::test]
async fn blocks_of_lines_are_one_frame_and_full_objects_are_put() {
    let folder_on_disk = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder_on_disk.path().to_str().unwrap(), &BTreeMap::new()).unwrap();
    let of = |id: usize, len: usize| format!("{{\"id\":{id},\"t\":\"{}\"}}", "x".repeat(len)).into_bytes();
    let records: Vec<Vec<u8>> = (0..210)
        .map(|id| of(id, if id % 70 == 9 { 3 << 20 } else { 60_000 + id }))
        .collect();
    let mut writer = BronzeWriter::new(storage.clone(), &plan(), 1).unwrap();
    for part in records.chunks(8) {
        let part: Vec<&[u8]> = part.iter().map(Vec::as_slice).collect();
        writer.write(&batch(&part), &[]).await.unwrap();
    }
    writer.flush(2).await.unwrap();
    writer.write(&batch(&[b"{}"]), &[]).await.unwrap();
    writer.flush(3).await.unwrap();
    let folder = folder("demo", "things");
    let names: Vec<String> = objects(&storage, &folder)
        .await
        .unwrap()
        .into_iter()
        .map(|(name, _)| name.to_string())
        .collect();
    insta::assert_debug_snapshot!(names, @r#"
    [
        "0000000001-run-1-0000.jsonl.zst",
        "0000000001-run-1-0001.jsonl.zst",
        "0000000002-run-1-0000.jsonl.zst",
    ]
    "#);
    for (_, meta) in objects(&storage, &folder).await.unwrap() {
        let body = storage.get(&meta.location).await.unwrap();
        // One frame: a reader that ends at the first one's end misses nothing.
        assert_eq!(zstd::zstd_safe::find_frame_compressed_size(&body), Ok(body.len()));
    }
    let mut all = records;
    all.push(b"{}".to_vec());
    assert!(read_all(&storage, &folder).await == all);
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
