//! What a connection of `files` says.

use serde::Deserialize;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Error, Result, name};

use super::format::Format;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilesConfig {
    /// A file, a folder, a glob, or `s3://bucket/prefix`.
    pub(super) path: String,
    #[serde(default)]
    pub(super) format: Option<Format>,
    #[serde(default)]
    pub(super) csv: CsvOptions,
    #[serde(default)]
    pub(super) streams: Vec<FileStream>,
    /// S3 only.
    #[serde(default)]
    pub(super) endpoint: Option<String>,
    #[serde(default)]
    pub(super) region: Option<String>,
}

/// One declared stream: the files that match a pattern.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileStream {
    pub(super) name: String,
    /// Glob over the paths below `path`; `**` crosses folders.
    pub(super) pattern: String,
    #[serde(default)]
    pub(super) format: Option<Format>,
    #[serde(default)]
    pub(super) csv: Option<CsvOptions>,
    #[serde(default)]
    pub(super) primary_key: Vec<String>,
    /// Top-level field; of two records with the same key the one with the newer value wins.
    #[serde(default)]
    pub(super) cursor: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CsvOptions {
    pub(super) delimiter: char,
    pub(super) quote: char,
    /// Column names of files that have no header line.
    pub(super) columns: Option<Vec<String>>,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            delimiter: ',',
            quote: '"',
            columns: None,
        }
    }
}

impl FilesConfig {
    pub(super) fn of(connection: &ConnectionSpec) -> Result<Self> {
        let value = serde_json::Value::Object(connection.config.clone());
        let config: Self = serde_json::from_value(value).map_err(|error| {
            Error::spec("the settings of this connection do not fit the connector 'files'")
                .with("connection", &connection.connection)
                .with("problem", error)
                .hint("`weir connector show files` prints what config may hold")
        })?;
        config.validate()?;
        Ok(config)
    }

    /// All documents below the connection's path, or those of its pattern, as one stream.
    pub(super) fn of_documents(connection: &ConnectionSpec) -> Result<Self> {
        let text = |name: &str| {
            connection
                .config
                .get(name)
                .and_then(serde_json::Value::as_str)
                .map(str::to_owned)
        };
        let stream = FileStream {
            name: "documents".to_owned(),
            pattern: text("pattern").unwrap_or_else(|| "**/*".to_owned()),
            format: Some(Format::Document),
            csv: None,
            primary_key: vec!["path".to_owned()],
            cursor: None,
        };
        Ok(Self {
            path: text("path").unwrap_or_default(),
            format: None,
            csv: CsvOptions::default(),
            streams: vec![stream],
            endpoint: text("endpoint"),
            region: text("region"),
        })
    }

    fn validate(&self) -> Result<()> {
        for (index, stream) in self.streams.iter().enumerate() {
            name::check("stream", &stream.name)?;
            if self.streams[..index]
                .iter()
                .any(|other| other.name == stream.name)
            {
                return Err(Error::spec(format!(
                    "stream '{}' is declared twice in config.streams",
                    stream.name
                ))
                .hint("rename or delete one of them"));
            }
        }
        let options = self.streams.iter().filter_map(|stream| stream.csv.as_ref());
        for csv in std::iter::once(&self.csv).chain(options) {
            for (field, sign) in [("delimiter", csv.delimiter), ("quote", csv.quote)] {
                if !sign.is_ascii() {
                    return Err(Error::spec(format!("csv.{field} '{sign}' is not one byte"))
                        .hint("use an ASCII character, as in ',' or ';' or \"\\t\""));
                }
            }
        }
        Ok(())
    }
}
