//! Records found in an answer by a path, and what is found in records.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use weir_engine::extract::{self, Path, Selector};
use weir_protocol::spec::Select;

fuzz_target!(|data: (&str, &[u8])| {
    let (path, body) = data;
    let _ = Path::parse(path);
    for select in [Select::Root, Select::Path(path.to_owned())] {
        let Ok(selector) = Selector::new(&select) else {
            continue;
        };
        let Ok(page) = selector.select(Bytes::copy_from_slice(body)) else {
            continue;
        };
        for record in &page.records {
            let text = page.json(record);
            let whole = 0..text.len();
            if let Ok(path) = Path::parse(path)
                && let Ok(Some(found)) = extract::find(text, &whole, &path)
            {
                let _ = extract::parse(&text[found]);
            }
            if let Ok(Some(kept)) = extract::without_nulls(text) {
                // What is left of JSON is JSON.
                if serde_json::from_slice::<serde_json::Value>(text).is_ok() {
                    serde_json::from_slice::<serde_json::Value>(&kept).expect("still JSON");
                }
            }
        }
    }
});
