//! What reading costs, part by part: `cargo bench -p weir-engine`.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use url::Url;
use weir_engine::Clock;
use weir_engine::decode::{Encoded, decode};
use weir_engine::extract::Selector;
use weir_engine::interpolate::{Scope, Templates};
use weir_engine::pagination::{PageFacts, PageState, Pagination};
use weir_protocol::spec::{Paginate, Select};

const RECORDS: usize = 1_000;

fn page() -> Bytes {
    let items: Vec<Value> = (0..RECORDS)
        .map(|n| {
            json!({ "id": n, "title": format!("record {n}"), "score": n as f64 / 7.0,
                    "user": { "id": n % 50, "login": format!("user-{}", n % 50) },
                    "labels": [{ "id": 1, "name": "area/one" }], "body": "read write merge commit ".repeat(20) })
        })
        .collect();
    Bytes::from(json!({ "pages": 10, "items": items }).to_string())
}

fn reading(criterion: &mut Criterion) {
    let body = page();
    let mut group = criterion.benchmark_group("page of 1,000 records");
    group.throughput(Throughput::Bytes(body.len() as u64));
    let selector = Selector::new(&Select::Path("items".to_owned())).expect("a path");
    group.bench_function("select", |bencher| {
        bencher.iter(|| selector.select(body.clone()).expect("records").records.len());
    });
    let csv: String = (0..RECORDS)
        .map(|n| format!("{n},\"record, {n}\",{}\n", n % 7))
        .collect();
    let csv = Bytes::from(format!("id,title,kind\n{csv}"));
    let spec = serde_json::from_value(json!({ "format": "csv" })).expect("a decoder");
    group.throughput(Throughput::Bytes(csv.len() as u64));
    group.bench_function("decode csv", |bencher| {
        bencher.iter(|| {
            let encoded = Encoded {
                body: &csv,
                content_type: Some("text/csv"),
                bytes_max: 64 << 20,
            };
            decode(&spec, encoded).expect("rows").len()
        });
    });
    group.finish();
}

fn asking(criterion: &mut Criterion) {
    let templates = Templates::new(&Clock::system());
    let template = templates
        .compile(
            "path",
            "/orders/{{ parent.id }}?since={{ cursor | default('never') }}",
        )
        .expect("a template");
    let scope = Scope::new()
        .with("parent", json!({ "id": 7 }))
        .with("cursor", "2026-01-01T00:00:00Z");
    criterion.bench_function("template", |bencher| {
        bencher.iter(|| template.render_text(black_box(&scope)).expect("text"));
    });
    let rule: Paginate = serde_json::from_value(
        json!({ "by": "page_number", "request": { "param": "page" }, "size": { "value": RECORDS } }),
    )
    .expect("a rule");
    let pagination = Pagination::new(&templates, "stream x", &rule).expect("a rule");
    let (url, headers) = (
        Url::parse("https://a.example/orders").expect("a URL"),
        HeaderMap::new(),
    );
    criterion.bench_function("paginator", |bencher| {
        bencher.iter_batched(
            || PageState::Number(3),
            |state| {
                let facts = PageFacts {
                    records: RECORDS as u64,
                    document: None,
                    headers: &headers,
                    url: &url,
                    last_record: None,
                    scope: &scope,
                };
                pagination.rule().next(&facts, &state).expect("a page")
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(parts, reading, asking);
criterion_main!(parts);
