//! Connector and connection files.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::spec::ConnectorSpec;

fuzz_target!(|text: &str| {
    let _ = ConnectorSpec::parse(Path::new("connector.yaml"), text);
    let _ = ConnectionSpec::parse(Path::new("connection.yaml"), text);
});
