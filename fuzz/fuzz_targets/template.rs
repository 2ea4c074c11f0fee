//! Templates of connectors: compiled and rendered within their limits.
#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use weir_engine::clock::Clock;
use weir_engine::interpolate::{Scope, Templates};

fuzz_target!(|text: &str| {
    let templates = Templates::new(&Clock::fixed(Timestamp::UNIX_EPOCH));
    let scope = Scope::new()
        .with("config", json!({"key": "value", "count": 3, "list": [1, 2, 3]}))
        .with("cursor", json!({"start": "2026-01-01T00:00:00Z", "end": 7}))
        .with("record", json!({"id": 1, "text": "\u{e4}", "none": null}));
    if let Ok(template) = templates.compile("fuzz", text) {
        let _ = template.render(&scope);
        let _ = template.render_bool(&scope);
    }
});
