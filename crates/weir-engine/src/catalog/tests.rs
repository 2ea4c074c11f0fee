use std::fs;

use super::*;

const SPEC: &str = r#"
spec: 1
connector: acme
version: 1.0.0
name: { en: Acme }
hosts: [api.acme.example]
http: { base_url: "https://api.acme.example" }
streams: [{ name: invoices, path: /invoices, primary_key: [id] }]
"#;

/// A folder of connector folders with these files.
fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn open(files: &[(&str, &str)]) -> (Catalog, tempfile::TempDir) {
    let folder = project(files);
    let catalog = Catalog::open(&[folder.path().to_owned()]).unwrap();
    (catalog, folder)
}

fn problems(files: &[(&str, &str)]) -> Vec<String> {
    let (catalog, folder) = open(files);
    let root = folder.path().display().to_string();
    catalog
        .problems()
        .map(|problem| format!("{:?}", problem.error).replace(&root, "."))
        .collect()
}

#[test]
fn every_embedded_connector_is_sound() {
    let catalog = Catalog::embedded();
    assert_eq!(
        catalog.problems().map(|problem| problem.error.to_string()).next(),
        None
    );
    let keys: Vec<_> = catalog.list().map(Connector::key).collect();
    assert!(keys.contains(&"github"), "{keys:?}");
}

#[test]
fn a_folder_is_read_whole() {
    let (catalog, _folder) = open(&[
        ("acme/connector.yaml", SPEC),
        ("acme/README.md", "# Acme"),
        ("acme/schemas/invoices.json", r#"{"type":"object"}"#),
        ("acme/gold/gold_billing_invoices.sql", "select 1"),
    ]);
    let acme = catalog.get("acme").unwrap();
    assert_eq!(acme.readme.as_deref(), Some("# Acme"));
    assert!(acme.schema("invoices").is_some());
    assert!(acme.models.contains_key("gold_billing_invoices"));
}

#[test]
fn a_folder_overlays_an_embedded_connector() {
    let (catalog, folder) = open(&[("github/connector.yaml", &SPEC.replace("acme", "github"))]);
    let github = catalog.get("github").unwrap();
    assert_eq!(github.origin, Origin::Folder(folder.path().join("github")));
    assert_eq!(github.spec.streams.len(), 1);
}

#[test]
fn a_missing_folder_holds_nothing() {
    assert!(Catalog::open(&[PathBuf::from("/nowhere/at/all")]).is_ok());
}

#[test]
fn an_unknown_key_gets_the_nearest_name() {
    let (catalog, _folder) = open(&[("acme/connector.yaml", SPEC)]);
    insta::assert_snapshot!(format!("{:?}", catalog.get("acne").unwrap_err()), @"[not_found] there is no connector 'acne' -> did you mean 'acme'?");
}

#[test]
fn every_problem_is_told_with_its_file() {
    let found = problems(&[
        (
            "acne/connector.yaml",
            &SPEC.replace("path: /invoices", "path: \"/{{ config.a\""),
        ),
        ("acne/schemas/invoice.json", "{}"),
        ("acne/schemas/invoices.json", r#"{"type":"objekt"}"#),
        ("acne/gold/invoices.sql", "select 1"),
        ("acne/gold/notes.txt", ""),
    ]);
    insta::assert_snapshot!(found.join("\n"), @r#"
    [spec] the folder is called 'acne' but its connector 'acme' (file: ./acne/connector.yaml) -> write 'connector: acne', or rename the folder to 'acme'
    [spec] ./acne/schemas/invoice.json names no stream: connector 'acme' has no stream 'invoice' -> rename the file to invoices.json
    [spec] not a valid JSON Schema (at: /type, problem: "objekt" is not valid under any of the schemas listed in the 'anyOf' keyword, file: ./acne/schemas/invoices.json) -> see https://json-schema.org/draft/2020-12
    [spec] ./acne/gold/notes.txt does not end in .sql -> rename or remove the file
    [spec] 'invoices' is not a valid model name (file: ./acne/gold/invoices.sql) -> name a model gold_<domain>_<entity>, as in gold_engineering_open_issues
    [template] streams[invoices].path: the template cannot be compiled (template: /{{ config.a, problem: syntax error: unexpected end of input, expected end of variable block, file: ./acne/connector.yaml) -> write {{ config.name }} for a value and {% if … %}…{% endif %} for a choice
    "#);
}

#[test]
fn a_broken_connector_leaves_the_others_alone() {
    let (catalog, _folder) = open(&[
        ("acme/connector.yaml", SPEC),
        ("other/connector.yaml", "spec: 1\nconnectr: other\n"),
    ]);
    assert!(catalog.get("acme").is_ok());
    let error = catalog.get("other").unwrap_err();
    assert!(error.to_string().contains("connector.yaml:2:1"), "{error}");
}

#[test]
fn a_connector_that_was_sent_is_the_one_that_was_read() {
    let (catalog, _folder) = open(&[
        ("acme/connector.yaml", SPEC),
        ("acme/README.md", "# Acme"),
        ("acme/schemas/invoices.json", r#"{"type":"object"}"#),
        ("acme/fixtures/ok.http", "not sent"),
    ]);
    let files = catalog.get("acme").unwrap().origin.to_carry("acme").unwrap();
    assert_eq!(
        files.keys().map(String::as_str).collect::<Vec<_>>(),
        ["connector.yaml", "schemas/invoices.json"]
    );
    let carried = Connector::carried("acme", files.clone()).unwrap();
    assert!(carried.schema("invoices").is_some());
    assert_eq!(carried.origin.to_carry("acme").unwrap(), files);
    Connector::carried("acme", BTreeMap::new()).unwrap_err();
    let github = Catalog::embedded()
        .get("github")
        .unwrap()
        .origin
        .to_carry("github")
        .unwrap();
    Connector::carried("github", github).unwrap();
}
