//! Low-code manifests: YAML with references and parameters.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_engine::airbyte::Manifest;

fuzz_target!(|text: &str| {
    let _ = Manifest::is_one(text);
    // The members that every manifest has, so that more of them come to be read.
    let whole = format!("streams: []\n{text}");
    for text in [text, &whole] {
        if let Ok(manifest) = Manifest::parse("manifest.yaml", text) {
            let _ = manifest.names_private_host(&serde_json::json!({"key": "value"}));
        }
    }
});
