//! Low-code manifests: YAML with references and parameters, and the streams that are made of them.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use weir_engine::airbyte::{AirbyteSource, Manifest, SourceSettings};
use weir_protocol::Source;

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_all().build().expect("a runtime"));
static SETTINGS: LazyLock<SourceSettings> = LazyLock::new(|| SourceSettings {
    // No request leaves.
    hosts: vec!["nowhere.invalid".to_owned()],
    ..SourceSettings::default()
});

fuzz_target!(|text: &str| {
    let _ = Manifest::is_one(text);
    // The members that every manifest has, so that more of them come to be read.
    let whole = format!("streams: []\n{text}");
    for text in [text, &whole] {
        let Ok(manifest) = Manifest::parse("manifest.yaml", text) else {
            continue;
        };
        let config = json!({"key": "value", "start_date": "2026-01-01T00:00:00Z", "count": 3});
        let _ = manifest.names_private_host(&config);
        let _ = AirbyteSource::specification(&manifest);
        if let Ok(source) = AirbyteSource::new(&manifest, config, &SETTINGS) {
            let _ = RUNTIME.block_on(source.discover());
        }
    }
});
