//! HTTPS to a server whose certificate a private authority signed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use weir_engine::catalog::Connector;
use weir_engine::{EngineSettings, connect};
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{ReadEvent, ReadRequest, Result};

fn key(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/keys")
        .join(name)
}

/// Answers every request with one record.
async fn server() -> String {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(key("server.pem"))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let private = PrivateKeyDer::from_pem_file(key("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, private)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((plain, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that trusts nobody goes away.
                let Ok(mut stream) = acceptor.accept(plain).await else {
                    return;
                };
                let mut request = [0; 4096];
                if stream.read(&mut request).await.is_ok() {
                    let body = r#"[{"id":1}]"#;
                    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
                    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    let _sent = stream.write_all(answer.as_bytes()).await;
                    let _closed = stream.shutdown().await;
                }
            });
        }
    });
    format!("https://{address}")
}

async fn read(url: &str, tls: serde_json::Value) -> Result<usize> {
    let spec = json!({
        "spec": 1, "connector": "test", "version": "1.0.0", "name": { "en": "Test" },
        "hosts": [url.trim_start_matches("https://")], "http": { "base_url": url },
        "streams": [{ "name": "items", "path": "/items" }],
        "reliability": { "retry": { "attempts": 1 } },
    });
    let connection: ConnectionSpec = serde_json::from_value(json!({
        "connection": "test", "connector": "test", "allow_private_hosts": true, "tls": tls,
    }))
    .unwrap();
    let connector = Connector::new(serde_json::from_value(spec).unwrap());
    let source = connect(&connector, &connection, &EngineSettings::default())?;
    let mut events = source.read(ReadRequest::full("items"));
    let mut records = 0;
    while let Some(event) = events.next().await {
        if let ReadEvent::Batch(batch) = event? {
            records += batch.records.len();
        }
    }
    Ok(records)
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_the_connection_names_it() {
    let url = server().await;
    let trusted = read(&url, json!({ "ca_file": key("ca.pem") })).await;
    assert_eq!(trusted.unwrap(), 1);
    let unknown = read(&url, json!({})).await.unwrap_err();
    assert!(format!("{unknown:?}").contains("ertificate"), "{unknown:?}");
    let absent = read(&url, json!({ "ca_file": key("nothing.pem") }))
        .await
        .unwrap_err();
    assert!(absent.message().contains("nothing.pem"), "{absent:?}");
}
