use std::io::Write;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::{Value, json};
use weir_engine::catalog::Catalog;

use super::*;

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn written(write: impl FnOnce(&mut Messages)) -> Vec<Value> {
    let shared = Shared::default();
    let mut messages = Messages::to(Box::new(shared.clone()));
    write(&mut messages);
    drop(messages);
    let bytes = shared.0.lock().unwrap();
    let text = std::str::from_utf8(&bytes).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_record_is_one_line_whatever_its_shape() {
    let at = Timestamp::from_millisecond(1_700_000_000_000).unwrap();
    let found = written(|out| {
        assert!(
            out.record("s", b"{\n  \"id\": 1,\r\n \"text\": \"a\\nb\"\n}", at)
                .unwrap()
        );
        assert!(!out.record("s", b"not json", at).unwrap());
    });
    assert_eq!(found[0]["record"]["data"], json!({ "id": 1, "text": "a\nb" }));
    assert_eq!(found[0]["record"]["emitted_at"], 1_700_000_000_000_i64);
    assert_eq!(found[1]["type"], "LOG");
}

#[test]
fn the_spec_asks_for_settings_and_credential() {
    let catalog = Catalog::embedded();
    let found = written(|out| spec(catalog.get("github").unwrap(), out).unwrap());
    let asked = &found[0]["spec"]["connectionSpecification"];
    assert!(asked["properties"]["repository"].is_object());
    let method = &asked["properties"]["credential"]["oneOf"][0];
    assert_eq!(method["properties"]["token"]["airbyte_secret"], true);
}

#[test]
fn a_config_becomes_a_connection() {
    let catalog = Catalog::embedded();
    let config = json!({ "repository": "a/b", "credential": { "method": "bearer", "token": "t" }, "allow_private_hosts": true });
    let Value::Object(config) = config else { panic!() };
    let connection = config::connection(catalog.get("github").unwrap(), config).unwrap();
    assert_eq!(connection.config.len(), 1);
    assert!(connection.allow_private_hosts);
    assert_eq!(connection.credential.unwrap().values["token"].expose(), "t");
}
