//! What landing costs, part by part: `cargo bench -p weir-lake`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use weir_lake::typed::Typer;
use weir_lake::{Lake, LakeConfig};
use weir_protocol::source::StreamDescriptor;
use weir_protocol::{Batch, Destination, Record, Secret, StreamState, SyncMode, WritePlan};

const RECORDS: usize = 1_000;

/// One page of records with keys from `first` on, each `times` over.
fn batch(first: usize, times: usize, version: usize) -> Batch {
    let mut body = String::new();
    let mut records = Vec::new();
    for n in (first..first + RECORDS / times).cycle().take(RECORDS) {
        let text = json!({ "id": n, "at": format!("2026-01-{:02}T00:00:00Z", version + 1), "title": format!("record {n}"),
            "score": n as f64 / 7.0, "user": { "id": n % 50, "login": format!("user-{}", n % 50) },
            "labels": [{ "id": 1, "name": "area/one" }], "body": "read write merge commit ".repeat(20) })
        .to_string();
        records.push(Record {
            start: u32::try_from(body.len()).unwrap_or(u32::MAX),
            len: u32::try_from(text.len()).unwrap_or(u32::MAX),
            cursor_start: 0,
            cursor_len: 0,
        });
        body.push_str(&text);
    }
    Batch {
        slice: Arc::from(""),
        body: Bytes::from(body),
        records,
        filtered: 0,
        deduplicated: 0,
        emitted_at: jiff::Timestamp::UNIX_EPOCH,
    }
}

fn plan(mode: SyncMode, run: &str) -> WritePlan {
    WritePlan {
        run: run.to_owned(),
        connection: "bench".to_owned(),
        source: "bench".to_owned(),
        stream: StreamDescriptor {
            name: "records".to_owned(),
            entity: "records".to_owned(),
            primary_key: vec!["id".to_owned()],
            cursor_field: Some("at".to_owned()),
            ..StreamDescriptor::default()
        },
        mode,
        restart: false,
        known_sequence: 0,
        memory_bytes: 64 << 20,
        started_at: jiff::Timestamp::UNIX_EPOCH,
    }
}

/// A lake in a folder that goes with it.
struct Place {
    lake: Lake,
    _folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let lake = Lake::open(LakeConfig {
            location: folder.path().display().to_string(),
            options: BTreeMap::new(),
            pii_key: Secret::new("a key for benchmarks only, 32 bytes"),
        });
        Self {
            lake: lake.expect("a lake"),
            _folder: folder,
        }
    }

    async fn sync(&self, mode: SyncMode, run: &str, batch: Batch) {
        let mut writer = self.lake.open(plan(mode, run)).await.expect("a writer");
        writer.write(batch).await.expect("room");
        let state = StreamState {
            floor: Some(json!(run)),
            complete: true,
            ..StreamState::default()
        };
        let finished = writer.finish(&state).await.expect("a commit");
        finished.published().expect("a published read");
    }
}

fn typing(criterion: &mut Criterion) {
    let page = batch(0, 1, 0);
    let mut group = criterion.benchmark_group("page of 1,000 records");
    group.throughput(Throughput::Bytes(page.body.len() as u64));
    let plan = plan(SyncMode::FullRefreshAppend, "r");
    group.bench_function("type, columns unknown", |bencher| {
        bencher.iter_batched(
            || Typer::new(&plan, None, b"key").expect("a typer"),
            |mut typer| typer.decode(&page).expect("rows").rows.num_rows(),
            BatchSize::SmallInput,
        );
    });
    let mut typer = Typer::new(&plan, None, b"key").expect("a typer");
    typer.decode(&page).expect("rows");
    group.bench_function("type", |bencher| {
        bencher.iter(|| typer.decode(&page).expect("rows").rows.num_rows());
    });
    group.finish();
}

fn landing(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("stream of 1,000 records");
    group.sample_size(20);
    for (name, mode, times) in [
        ("append: Bronze, Parquet, commit", SyncMode::FullRefreshAppend, 1),
        ("dedup: each key ten times", SyncMode::IncrementalMerge, 10),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || (Place::new(), batch(0, times, 0)),
                |(place, batch)| {
                    runtime.block_on(place.sync(mode, "r", batch));
                    place
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.bench_function("merge into 10,000 rows", |bencher| {
        bencher.iter_batched(
            || {
                let place = Place::new();
                for page in 0..10 {
                    let rows = batch(page * RECORDS, 1, 0);
                    runtime.block_on(place.sync(SyncMode::IncrementalMerge, &format!("r{page}"), rows));
                }
                (place, batch(500, 1, 1))
            },
            |(place, batch)| {
                runtime.block_on(place.sync(SyncMode::IncrementalMerge, "last", batch));
                place
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(parts, typing, landing);
criterion_main!(parts);
