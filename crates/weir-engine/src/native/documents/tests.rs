use std::path::PathBuf;

use serde_json::{Map, Value, json};
use weir_protocol::action::{Actions as _, Call, Performed};
use weir_protocol::connection::ConnectionSpec;

use crate::EngineSettings;
use crate::action::HttpActions;
use crate::catalog::Catalog;

/// A program that answers as a reader does: by the first line of the document.
const READER: &str = r#"#!/bin/sh
read -r first < "$2"
case "$first" in
  die) kill -KILL $$ ;;
  bad) echo '{"error": {"kind": "usage", "message": "the document is empty", "context": "", "hint": "give another"}}' ;;
  odd) echo '{"document": {"format": "text"}}' ;;
  *) echo '{"document": {"format": "text", "language": "en", "pages": null, "recognised_pages": [], "unread_pages": [],
     "elements": [], "findings": {"parties": [], "dates": [], "amounts": [], "terms": [], "renewals": [], "notices": [],
     "governing_law": []}}}' | tr -d '\n'; echo ;;
esac
"#;

struct Bench {
    folder: tempfile::TempDir,
    actions: HttpActions,
}

fn bench() -> Bench {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("reader");
    std::fs::write(&program, READER).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let documents = folder.path().join("documents");
    std::fs::create_dir(&documents).unwrap();
    std::fs::write(documents.join("a.txt"), "good").unwrap();
    let actions = actions(json!({ "path": documents }), Some(program));
    Bench { folder, actions }
}

fn actions(config: Value, reader: Option<PathBuf>) -> HttpActions {
    let connection = json!({ "connection": "contracts", "connector": "contract_intel", "config": config });
    let connection: ConnectionSpec = serde_json::from_value(connection).unwrap();
    let settings = EngineSettings {
        document_reader: reader,
        process_env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
        ..EngineSettings::default()
    };
    let catalog = Catalog::embedded();
    HttpActions::connect(catalog.get("contract_intel").unwrap(), &connection, &settings).unwrap()
}

fn call(input: Value) -> Call {
    let Value::Object(input) = input else {
        panic!("an input is an object");
    };
    Call {
        action: "extract".to_owned(),
        input,
        idempotency_key: "k".to_owned(),
        correlation_id: "c".to_owned(),
        began_at_ms: None,
    }
}

async fn told(actions: &HttpActions, input: Value) -> Result<Value, String> {
    match actions.perform(&call(input)).await {
        Performed::Done(reply) => Ok(reply.output),
        Performed::Failed(error) => Err(format!("{error:?}")),
        Performed::Uncertain(error) => panic!("a read is never uncertain: {error:?}"),
    }
}

fn file(text: &str) -> Value {
    use base64::Engine as _;

    json!({ "file": { "base64": base64::engine::general_purpose::STANDARD.encode(text) } })
}

#[tokio::test]
async fn a_document_is_read_from_the_input_or_from_the_folder() {
    let bench = bench();
    assert_eq!(
        told(&bench.actions, file("good")).await.unwrap()["format"],
        "text"
    );
    let found = told(&bench.actions, json!({ "path": "a.txt", "elements": false }))
        .await
        .unwrap();
    assert!(found.get("elements").is_none());
    assert_eq!(found["language"], "en");
}

#[tokio::test]
async fn what_cannot_be_read_is_told_by_its_reason() {
    let bench = bench();
    let failed = async |input| told(&bench.actions, input).await.unwrap_err();
    assert!(
        failed(file("bad"))
            .await
            .starts_with("[usage] the document is empty")
    );
    assert!(
        failed(file("die"))
            .await
            .starts_with("[limit] the document took more time or memory")
    );
    assert!(
        failed(file("odd"))
            .await
            .starts_with("[decode] the answer does not give the output")
    );
    assert!(failed(json!({})).await.contains("exactly one of file and path"));
    assert!(
        failed(json!({ "path": "missing.pdf" }))
            .await
            .starts_with("[not_found]")
    );
}

#[tokio::test]
async fn a_path_stays_below_the_folder() {
    let bench = bench();
    std::fs::write(bench.folder.path().join("secret.txt"), "good").unwrap();
    std::os::unix::fs::symlink(
        bench.folder.path().join("secret.txt"),
        bench.folder.path().join("documents/link.txt"),
    )
    .unwrap();
    for path in ["../secret.txt", "/etc/passwd", "link.txt"] {
        let error = told(&bench.actions, json!({ "path": path })).await.unwrap_err();
        assert!(
            error.contains("leads out of the connection's folder"),
            "{path}: {error}"
        );
    }
}

#[tokio::test]
async fn a_path_names_what_the_stream_would_read() {
    let bench = bench();
    let documents = bench.folder.path().join("documents");
    std::fs::create_dir_all(documents.join("old")).unwrap();
    for name in [".env", "_draft.txt", "b.pdf", "old/c.pdf"] {
        std::fs::write(documents.join(name), "good").unwrap();
    }
    let program = Some(bench.folder.path().join("reader"));
    let of_pattern = actions(json!({ "path": documents, "pattern": "*.pdf" }), program.clone());
    let of_glob = actions(
        json!({ "path": format!("{}/*.pdf", documents.display()) }),
        program,
    );
    for (actions, path, is_read) in [
        (&bench.actions, "old/c.pdf", true),
        (&bench.actions, ".env", false),
        (&bench.actions, "_draft.txt", false),
        (&of_pattern, "b.pdf", true),
        (&of_pattern, "./b.pdf", true),
        (&of_pattern, "old/c.pdf", false),
        (&of_pattern, "a.txt", false),
        (&of_glob, "b.pdf", true),
        (&of_glob, "a.txt", false),
    ] {
        match told(actions, json!({ "path": path })).await {
            Ok(_) => assert!(is_read, "{path}"),
            Err(error) => assert!(
                !is_read && error.contains("not one of the files"),
                "{path}: {error}"
            ),
        }
    }
    let error = told(&bench.actions, json!({ "path": "old" })).await.unwrap_err();
    assert!(error.contains("is no file"), "{error}");
}

#[tokio::test]
async fn without_folder_or_reader_the_next_step_is_named() {
    let without = actions(json!({}), None);
    assert!(
        told(&without, json!({ "path": "a.txt" }))
            .await
            .unwrap_err()
            .contains("set config.path")
    );
    assert!(
        told(&without, file("good"))
            .await
            .unwrap_err()
            .starts_with("[spec] nothing here reads documents")
    );
}

#[test]
fn a_dry_run_shows_which_document_and_not_its_content() {
    let bench = bench();
    let shown = bench.actions.show(&call(file("good"))).unwrap();
    assert_eq!(shown.method, "READ");
    assert_eq!(shown.body, Some(json!({ "base64_chars": 8 })));
    let defaults = bench.actions.check("extract", &Map::new()).unwrap();
    assert_eq!(defaults["elements"], true);
}
