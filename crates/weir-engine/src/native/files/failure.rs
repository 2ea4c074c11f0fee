//! What goes wrong with folders and buckets, in plain words with a next step.

use weir_protocol::{Error, ErrorKind};

pub(super) fn local(path: &str, error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::source_failed(format!("there is no file or folder '{path}'"))
            .hint("check config.path; a relative path begins where weir was started"),
        std::io::ErrorKind::PermissionDenied => {
            Error::source_failed(format!("no permission to read '{path}'"))
                .caused_by(error)
                .hint("give the user that runs weir the right to read it")
        }
        _ => Error::source_failed(format!("cannot read '{path}'"))
            .caused_by(error)
            .hint("check that the path can be read"),
    }
}

/// Words in a store's answer, what they mean, and what to do.
const ANSWERS: &[(&str, ErrorKind, &str, &str)] = &[
    (
        "NoSuchBucket",
        ErrorKind::Source,
        "there is no such bucket",
        "check the bucket's name in config.path, and config.endpoint and config.region",
    ),
    (
        "InvalidAccessKeyId",
        ErrorKind::Auth,
        "the store does not know this access key",
        "set credential.access_key_id to a key of this store",
    ),
    (
        "SignatureDoesNotMatch",
        ErrorKind::Auth,
        "the store refuses the signature",
        "check credential.secret_access_key and config.region",
    ),
    (
        "AccessDenied",
        ErrorKind::Auth,
        "the store refuses access",
        "give the credential the rights to list and read the bucket, or set a credential",
    ),
    (
        "403",
        ErrorKind::Auth,
        "the store refuses access",
        "give the credential the rights to list and read the bucket, or set a credential",
    ),
    (
        "401",
        ErrorKind::Auth,
        "the store asks for a credential",
        "set credential.access_key_id and credential.secret_access_key",
    ),
    (
        "PermanentRedirect",
        ErrorKind::Source,
        "the bucket lies in another region",
        "set config.region to the bucket's region",
    ),
    (
        "timed out",
        ErrorKind::Timeout,
        "the store did not answer in time",
        "check config.endpoint and the network, then run again",
    ),
    (
        "error sending request",
        ErrorKind::Unavailable,
        "the store cannot be reached",
        "check config.endpoint and the network, then run again",
    ),
];

pub(super) fn store(error: object_store::Error, shown: &str) -> Error {
    use object_store::Error as Store;
    let (kind, words, hint) = match &error {
        Store::NotFound { .. } if !mentions(&error, "NoSuchBucket") => {
            (ErrorKind::Source, "there is no such file", "check config.path")
        }
        Store::PermissionDenied { .. } | Store::Unauthenticated { .. } if !known(&error) => (
            ErrorKind::Auth,
            "the store refuses access",
            "give the credential the rights to list and read the bucket, or set a credential",
        ),
        _ => ANSWERS.iter().find(|(word, ..)| mentions(&error, word)).map_or(
            (
                ErrorKind::Source,
                "the store cannot be read",
                "check config.path and the credential",
            ),
            |(_, kind, words, hint)| (*kind, *words, *hint),
        ),
    };
    Error::new(kind, words)
        .with("path", shown)
        .with("answer", brief(&error))
        .hint(hint)
}

/// The store's own words, or the last cause: all causes together repeat each other at length.
fn brief(error: &object_store::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(below) = last.source() {
        last = below;
    }
    let text = error.to_string();
    let told = text
        .split_once("<Message>")
        .and_then(|(_, rest)| rest.split_once("</Message>"));
    told.map_or_else(|| last.to_string(), |(message, _)| message.to_owned())
}

pub(super) fn parquet(error: parquet::errors::ParquetError, file: &str) -> Error {
    Error::decode(format!("'{file}' cannot be read as Parquet"))
        .caused_by(error)
        .hint("check that the file is complete; set config.format if it is of another format")
}

pub(super) fn reading(error: std::io::Error, file: &str) -> Error {
    Error::source_failed(format!("'{file}' cannot be read to its end"))
        .caused_by(error)
        .hint("check that the file is complete and its ending tells its compression")
}

fn known(error: &object_store::Error) -> bool {
    ANSWERS.iter().any(|(word, ..)| mentions(error, word))
}

fn mentions(error: &object_store::Error, word: &str) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(found) = cause {
        if found.to_string().contains(word) {
            return true;
        }
        cause = found.source();
    }
    false
}
