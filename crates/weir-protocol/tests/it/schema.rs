//! The published JSON Schemas are the types, and nothing else.

use std::path::Path;

use schemars::{JsonSchema, schema_for};
use weir_protocol::bundle::BundleSpec;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::spec::ConnectorSpec;

fn is_published<T: JsonSchema>(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/reference")
        .join(format!("{name}.schema.json"));
    let now = serde_json::to_string_pretty(&schema_for!(T)).expect("a schema is JSON") + "\n";
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    if published != now {
        let renewed = path.with_extension("json.new");
        std::fs::write(&renewed, &now).expect("docs/reference is writable");
        panic!(
            "docs/reference/{name}.schema.json is out of date: look at {} and move it there",
            renewed.display()
        );
    }
}

#[test]
fn the_connector_schema_is_published() {
    is_published::<ConnectorSpec>("connector");
}

#[test]
fn the_connection_schema_is_published() {
    is_published::<ConnectionSpec>("connection");
}

#[test]
fn the_bundle_schema_is_published() {
    is_published::<BundleSpec>("bundle");
}
