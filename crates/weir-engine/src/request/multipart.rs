//! Bodies of `multipart/form-data` (RFC 7578).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use serde_json::{Map, Value};
use uuid::Uuid;
use weir_protocol::{Error, Result};

use crate::http::Body;
use crate::interpolate::{Scope, Tree, is_omitted, text_of};

/// Before each part, and around the end.
const DASHES: &str = "--";

pub(super) fn body(field: &str, fields: &[(String, Tree)], scope: &Scope) -> Result<Body> {
    // Random, so that no content can contain it on purpose.
    let boundary = format!("weir-{}", Uuid::new_v4().simple());
    let mut body = BytesMut::new();
    for (name, tree) in fields {
        let values = match tree.render(scope)? {
            Value::Array(items) => items,
            value => vec![value],
        };
        for value in values
            .into_iter()
            .filter(|value| !value.is_null() && !is_omitted(value))
        {
            body.put_slice(
                format!("{DASHES}{boundary}\r\nContent-Disposition: form-data; name=\"").as_bytes(),
            );
            body.put_slice(quoted(name).as_bytes());
            match value {
                Value::Object(file) => put_file(&mut body, field, name, &file)?,
                value => {
                    body.put_slice(b"\"\r\n\r\n");
                    body.put_slice(text_of(value).as_bytes());
                }
            }
            body.put_slice(b"\r\n");
        }
    }
    body.put_slice(format!("{DASHES}{boundary}{DASHES}\r\n").as_bytes());
    let content_type = format!("multipart/form-data; boundary={boundary}");
    Ok(Body::Multipart(content_type, body.freeze()))
}

fn put_file(body: &mut BytesMut, field: &str, name: &str, file: &Map<String, Value>) -> Result<()> {
    let text = |key: &str| file.get(key).and_then(Value::as_str);
    let content = decoded(field, name, text("base64"))?;
    let filename = text("filename").unwrap_or("file");
    body.put_slice(format!("\"; filename=\"{}\"", quoted(filename)).as_bytes());
    let content_type = text("content_type").unwrap_or("application/octet-stream");
    if content_type.contains(['\r', '\n']) {
        return Err(
            Error::usage(format!("{field}: the content type of '{name}' has a line break"))
                .hint("write one type, as in image/png"),
        );
    }
    body.put_slice(format!("\r\nContent-Type: {content_type}\r\n\r\n").as_bytes());
    body.put_slice(&content);
    Ok(())
}

fn decoded(field: &str, name: &str, content: Option<&str>) -> Result<Bytes> {
    let Some(content) = content else {
        return Err(Error::spec(format!("{field}: the file '{name}' has no content"))
            .hint("write it as { base64: …, filename: …, content_type: … }"));
    };
    let decoded = STANDARD.decode(content).map_err(|error| {
        Error::usage(format!("{field}: the content of the file '{name}' is not base64"))
            .caused_by(error)
            .hint("encode the file's bytes by RFC 4648 with the standard alphabet and padding")
    })?;
    Ok(decoded.into())
}

/// As browsers write names: what would end the name or the line is percent-encoded.
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}
