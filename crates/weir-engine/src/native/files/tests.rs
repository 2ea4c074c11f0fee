use std::io::Write as _;
use std::path::Path;

use futures::StreamExt;
use serde_json::{Value, json};
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{ReadEvent, ReadMode, ReadRequest, Result, Source, StateChange, StreamState};

use super::FilesSource;

fn source(folder: &Path, config: Value) -> Result<FilesSource> {
    let mut config = config;
    config["path"] = json!(folder.join(config["path"].as_str().unwrap_or("")));
    let connection = json!({ "connection": "local", "connector": "files", "config": config });
    let connection: ConnectionSpec = serde_json::from_value(connection).unwrap();
    FilesSource::new(&connection, crate::clock::Clock::system())
}

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    folder
}

/// Records in order, and the state at the end. Stops after `batches_max` batches with the state that covers them.
async fn read(
    source: &FilesSource,
    request: ReadRequest,
    batches_max: usize,
) -> Result<(Vec<String>, StreamState)> {
    let mut state = request.state.clone().unwrap_or_default();
    let mut records = Vec::new();
    let mut batches = 0;
    let mut events = source.read(request);
    while let Some(event) = events.next().await {
        match event? {
            ReadEvent::Batch(batch) => {
                batches += 1;
                for record in &batch.records {
                    records.push(String::from_utf8_lossy(batch.json(record)).into_owned());
                }
            }
            ReadEvent::Advance(change) => {
                let complete = matches!(change, StateChange::Complete { .. });
                state.apply(change);
                if complete || batches >= batches_max {
                    break;
                }
            }
            ReadEvent::Progress(_) | ReadEvent::Notice(_) => {}
        }
    }
    Ok((records, state))
}

async fn all(source: &FilesSource, stream: &str) -> Vec<String> {
    read(source, ReadRequest::full(stream), usize::MAX)
        .await
        .unwrap()
        .0
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_values_get_the_types_that_all_of_them_fit() {
    let text = "id,name,zip,price,paid,at\n1,\"A, \"\"B\"\"\",00501,1.50,true,2024-01-02 03:04:05\n2,,10115,2,false,\n";
    let folder = folder(&[("Orders.csv", text.as_bytes())]);
    let source = source(folder.path(), json!({})).unwrap();
    let found = source.discover().await.unwrap();
    insta::assert_snapshot!(found[0].schema.as_ref().unwrap()["properties"], @r#"{"id":{"type":["integer","null"]},"name":{"type":["string","null"]},"zip":{"type":["string","null"]},"price":{"type":["number","null"]},"paid":{"type":["boolean","null"]},"at":{"type":["string","null"],"format":"date-time"}}"#);
    insta::assert_snapshot!(all(&source, "orders").await.join("\n"), @r#"
    {"id":1,"name":"A, \"B\"","zip":"00501","price":1.50,"paid":true,"at":"2024-01-02T03:04:05Z"}
    {"id":2,"name":"","zip":"10115","price":2,"paid":false,"at":null}
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_are_passed_on_as_they_stand() {
    let folder = folder(&[
        ("a.csv", b"\xef\xbb\xbfx,y\n1,2\n3\n\"4\n4\",5,6\n7,\xff\n8,9"),
        ("c.csv", b"x,y\n1,\"one\n2,\"two\"\n3,three\n4,\"four\n5,five\n"),
        ("d.csv", b"x,\"y\n1,2\n"),
        ("b.jsonl", b"\xef\xbb\xbf{\"n\":1}\r\n\n{\"n\":\n{\"n\":3}"),
    ]);
    let source = source(folder.path(), json!({})).unwrap();
    insta::assert_debug_snapshot!(all(&source, "c").await, @r#"
    [
        "1,\"one\n2,\"two\"",
        "{\"x\":3,\"y\":\"three\"}",
        "4,\"four\n5,five",
    ]
    "#);
    let error = read(&source, ReadRequest::full("d"), usize::MAX)
        .await
        .unwrap_err();
    insta::assert_snapshot!(error, @"in the header of 'd.csv' a CSV value begins with a quote that is never closed");
    insta::assert_debug_snapshot!(all(&source, "a").await, @r#"
    [
        "{\"x\":1,\"y\":2}",
        "3",
        "\"4\n4\",5,6",
        "7,�",
        "{\"x\":8,\"y\":9}",
    ]
    "#);
    insta::assert_debug_snapshot!(all(&source, "b").await, @r#"
    [
        "{\"n\":1}",
        "{\"n\":",
        "{\"n\":3}",
    ]
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_files_and_folders_make_streams() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"[{\"id\":1}, {\"id\":2}]").unwrap();
    let zstd = zstd::encode_all(&b"{\"id\":3}\n{\"id\":4}\n"[..], 1).unwrap();
    let folder = folder(&[
        ("events/2024/01.json.gz", &gzip.finish().unwrap()),
        ("events/2024/02.jsonl.zst", &zstd),
        ("events/_SUCCESS", b""),
        ("notes.txt", b"not data"),
    ]);
    let source = source(folder.path(), json!({})).unwrap();
    let found = source.discover().await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        all(&source, "events").await,
        [r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":3}"#, r#"{"id":4}"#]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incremental_read_takes_new_and_changed_files_only() {
    let folder = folder(&[("t/a.jsonl", b"{\"id\":1}\n"), ("t/b.jsonl", b"{\"id\":2}\n")]);
    let source = source(folder.path(), json!({})).unwrap();
    let mut request = ReadRequest {
        mode: ReadMode::Incremental,
        ..ReadRequest::full("t")
    };
    let (records, state) = read(&source, request.clone(), usize::MAX).await.unwrap();
    assert_eq!(records.len(), 2);
    assert!(state.complete);
    request.state = Some(state);
    std::fs::write(folder.path().join("t/b.jsonl"), b"{\"id\":20}\n").unwrap();
    std::fs::write(folder.path().join("t/c.jsonl"), b"{\"id\":3}\n").unwrap();
    let (records, state) = read(&source, request.clone(), usize::MAX).await.unwrap();
    assert_eq!(records, [r#"{"id":20}"#, r#"{"id":3}"#]);
    request.state = Some(state);
    assert_eq!(read(&source, request, usize::MAX).await.unwrap().0, [""; 0]);
}

/// Content of several batches in each format, 120,000 records of it.
fn large(format: &str) -> Vec<u8> {
    const RECORDS: usize = 120_000;
    let mut out = Vec::new();
    match format {
        "csv" => out.extend_from_slice(b"id,text\n"),
        "json" => out.push(b'['),
        _ => {}
    }
    for id in 0..RECORDS {
        let comma = if id == 0 { "" } else { "," };
        let line = match format {
            "csv" => format!("{id},\"line\n{id}\"\n"),
            "json" => format!("{comma}{{\"id\":{id}}}\n"),
            _ => format!("{{\"id\":{id}}}\n"),
        };
        out.extend_from_slice(line.as_bytes());
    }
    if format == "json" {
        out.push(b']');
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_read_does_not_go_on_in_files_that_changed() {
    let folder = folder(&[("t/a.jsonl", &large("jsonl"))]);
    let source = source(folder.path(), json!({})).unwrap();
    let request = |state, skip_edge| ReadRequest {
        state,
        skip_edge,
        ..ReadRequest::full("t")
    };
    let (_, state) = read(&source, request(None, true), 1).await.unwrap();
    let why = async |state: &StreamState| source.outdated("t", state).await.unwrap();
    assert!(source.may_be_outdated("t") && !state.complete);
    assert_eq!(why(&state).await, None);
    // A file that comes to it is read with the others.
    std::fs::write(folder.path().join("t/z.jsonl"), b"{\"id\":9}\n").unwrap();
    assert_eq!(why(&state).await, None);
    std::fs::remove_file(folder.path().join("t/z.jsonl")).unwrap();
    std::fs::write(folder.path().join("t/a.jsonl"), b"{\"id\":1}\n").unwrap();
    let complete = StreamState {
        complete: true,
        ..state.clone()
    };
    assert_eq!(why(&complete).await, None);
    insta::assert_snapshot!(why(&state).await.unwrap(), @r#"{"file":"t/a.jsonl"} is not as it was read (now: another version)"#);
    let error = read(&source, request(Some(state.clone()), true), usize::MAX)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("changed while a whole read"),
        "{error}"
    );
    // Where a key tells the rows apart, the newer ones count.
    let (records, _) = read(&source, request(Some(state.clone()), false), usize::MAX)
        .await
        .unwrap();
    assert_eq!(records, [r#"{"id":1}"#]);
    std::fs::remove_file(folder.path().join("t/a.jsonl")).unwrap();
    std::fs::write(folder.path().join("t/b.jsonl"), b"{\"id\":1}\n").unwrap();
    assert!(why(&state).await.unwrap().contains("now: gone"));
    assert!(
        read(&source, request(Some(state), true), usize::MAX)
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_goes_on_in_the_middle_of_a_file() {
    for (name, format) in [
        ("t.csv", "csv"),
        ("t.json", "json"),
        ("t.jsonl", "jsonl"),
        ("t.csv.zst", "csv"),
    ] {
        let content = large(format);
        let content = if name.ends_with("zst") {
            zstd::encode_all(&content[..], 1).unwrap()
        } else {
            content
        };
        let folder = folder(&[(name, &content)]);
        let source = source(folder.path(), json!({})).unwrap();
        let whole = all(&source, "t").await;
        assert_eq!(whole.len(), 120_000, "{name}");
        let (mut records, mut state) = read(&source, ReadRequest::full("t"), 1).await.unwrap();
        assert!(records.len() < whole.len(), "{name}");
        while !state.complete {
            let request = ReadRequest {
                state: Some(state),
                ..ReadRequest::full("t")
            };
            let (more, next) = read(&source, request, 1).await.unwrap();
            records.extend(more);
            state = next;
        }
        assert!(records == whole, "{name}: resumed reads differ from one read");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_stops_early() {
    let folder = folder(&[("t.jsonl", &large("jsonl"))]);
    let source = source(folder.path(), json!({})).unwrap();
    let request = ReadRequest {
        records_max: Some(10),
        ..ReadRequest::full("t")
    };
    let (records, state) = read(&source, request, usize::MAX).await.unwrap();
    assert_eq!(records.len(), 10);
    assert!(!state.complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_said_plainly() {
    let folder = folder(&[
        ("a/notes.txt", b"x"),
        ("b/x.csv", b"a\n1\n"),
        ("c/cut.json", b"[{\"a\":1},"),
    ]);
    let root = folder.path().display().to_string();
    let mut said = Vec::new();
    for config in [
        json!({ "path": "nowhere" }),
        json!({ "path": "a" }),
        json!({ "path": "b/*.parquet" }),
        json!({ "path": "b", "streams": [{ "name": "x", "pattern": "*.json" }] }),
        json!({ "path": "b", "streams": [{ "name": "X", "pattern": "*.csv" }] }),
        json!({ "path": "b", "formats": "csv" }),
        json!({ "path": "b", "csv": { "delimiter": "→" } }),
    ] {
        let error = match source(folder.path(), config) {
            Ok(source) => source.check().await.unwrap_err(),
            Err(error) => error,
        };
        said.push(format!("{error:?}").replace(&root, "."));
    }
    let cut = source(folder.path(), json!({ "path": "c" })).unwrap();
    let error = read(&cut, ReadRequest::full("cut"), usize::MAX)
        .await
        .unwrap_err();
    said.push(format!("{error:?}"));
    let error = read(&cut, ReadRequest::full("cuts"), usize::MAX)
        .await
        .unwrap_err();
    said.push(format!("{error:?}"));
    insta::assert_snapshot!(said.join("\n"), @r#"
    [source] there is no file or folder './nowhere' -> check config.path; a relative path begins where weir was started
    [source] no file of a known format in ./a (found: notes.txt) -> set config.format, or a pattern that matches (endings known: csv, tsv, jsonl, ndjson, json, parquet, each also .gz or .zst)
    [source] no files in ./b/*.parquet (other files there: x.csv) -> check config.path; hidden files (a name that begins with . or _) do not count
    [source] no file of a known format in ./b with pattern '*.json' (found: x.csv, stream: x) -> set config.format, or a pattern that matches (endings known: csv, tsv, jsonl, ndjson, json, parquet, each also .gz or .zst)
    [spec] 'X' is not a valid stream name -> use lower-case letters, digits and single underscores, starting with a letter, as in 'x'
    [spec] the settings of this connection do not fit the connector 'files' (connection: local, problem: unknown field `formats`, expected one of `path`, `format`, `csv`, `streams`, `endpoint`, `region`) -> `weir connector show files` prints what config may hold
    [spec] csv.delimiter '→' is not one byte -> use an ASCII character, as in ',' or ';' or "\t"
    [decode] 'cut.json' ends within its JSON array -> the file is cut off; write it again
    [not_found] no files make a stream 'cuts' -> did you mean 'cut'?
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_a_source() {
    let lines: String = (1..=10).map(|id| format!("{{\"id\":{id}}}\n")).collect();
    let table: String = (11..=20).map(|id| format!("{id}\n")).collect();
    let folder = folder(&[
        ("items/a.jsonl", lines.as_bytes()),
        ("items/b.jsonl", lines.replace("\"id\":", "\"id\":1").as_bytes()),
        ("rows.csv", format!("id\n{table}").as_bytes()),
    ]);
    let modes = [ReadMode::FullRefresh, ReadMode::Incremental];
    let one = source(folder.path(), json!({})).unwrap();
    let names: Vec<String> = one
        .discover()
        .await
        .unwrap()
        .into_iter()
        .map(|stream| stream.name)
        .collect();
    assert!(!names.is_empty());
    for name in names {
        let count = all(&one, &name).await.len();
        weir_protocol::conformance::source(&one, &name, &modes, count)
            .await
            .unwrap();
    }
}
