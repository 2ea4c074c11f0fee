//! Every connector of the repository passes the standard suite. A new one is found by itself.

use std::path::{Path, PathBuf};

use weir_engine::catalog::{Catalog, Origin};
use weir_engine::{EngineSettings, fixtures, scaffold};
use weir_protocol::Result;

fn connectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../connectors")
}

async fn failures(catalog: &Catalog) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for connector in catalog.list() {
        let report = fixtures::run(connector, &EngineSettings::default()).await?;
        let failed = report.failures();
        failures.extend(failed.map(|check| format!("{} {}: {}", report.connector, check.name, check.detail)));
    }
    Ok(failures)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connector_passes_the_suite() {
    let folder = connectors();
    let catalog = Catalog::open(std::slice::from_ref(&folder)).unwrap();
    assert_eq!(
        catalog.problems().map(|problem| problem.error.to_string()).next(),
        None
    );
    let found = std::fs::read_dir(&folder).unwrap().count();
    let from_disk = catalog
        .list()
        .filter(|connector| connector.origin != Origin::Embedded);
    assert_eq!(
        from_disk.count(),
        found,
        "a folder in connectors/ is no connector"
    );
    let failures = failures(&catalog).await.unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_connectors_are_the_same() {
    let failures = failures(&Catalog::embedded()).await.unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connector_passes_as_it_is_made() {
    let folder = tempfile::tempdir().unwrap();
    scaffold::write(folder.path(), "acme").unwrap();
    let catalog = Catalog::open(&[folder.path().to_owned()]).unwrap();
    let report = fixtures::run(catalog.get("acme").unwrap(), &EngineSettings::default())
        .await
        .unwrap();
    let failures: Vec<_> = report.failures().collect();
    assert!(failures.is_empty(), "{failures:?}");
}
