//! One connector with everything its folder says.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use weir_protocol::spec::ConnectorSpec;
use weir_protocol::yaml::closest;
use weir_protocol::{Error, Result, name};

use super::{Origin, SPEC_FILE};

#[derive(Debug, Clone)]
pub struct Connector {
    pub spec: ConnectorSpec,
    /// JSON Schema of a record by stream: `schemas/<stream>.json`.
    pub schemas: BTreeMap<String, Value>,
    /// SQL by model name: `gold/<model>.sql`.
    pub models: BTreeMap<String, String>,
    pub origin: Origin,
    pub readme: Option<String>,
}

impl Connector {
    /// A connector that exists only in memory.
    pub fn new(spec: ConnectorSpec) -> Self {
        Self {
            spec,
            schemas: BTreeMap::new(),
            models: BTreeMap::new(),
            origin: Origin::Embedded,
            readme: None,
        }
    }

    /// A connector that another process sent the files of.
    pub fn carried(key: &str, files: BTreeMap<String, String>) -> Result<Self> {
        let loaded = Self::load(key, Origin::Carried(Arc::new(files)));
        loaded.map_err(|problems| {
            let first = problems.into_iter().next();
            first.unwrap_or_else(|| {
                Error::internal("a connector without a problem is refused").hint("report it")
            })
        })
    }

    /// Reads a connector's folder; all that is wrong with it, not only the first thing.
    pub(super) fn load(key: &str, origin: Origin) -> Result<Self, Vec<Error>> {
        let spec = read_spec(key, &origin).map_err(|error| vec![error])?;
        let mut problems = Vec::new();
        if spec.connector != key {
            problems.push(wrong_folder(key, &spec.connector, &origin));
        }
        let mut connector = Self::new(spec);
        connector.origin = origin;
        connector.read_schemas(key, &mut problems);
        connector.read_models(key, &mut problems);
        match connector.origin.read_text(key, "README.md") {
            Ok(readme) => connector.readme = readme,
            Err(error) => problems.push(error),
        }
        connector.check_templates(key, &mut problems);
        if problems.is_empty() {
            Ok(connector)
        } else {
            Err(problems)
        }
    }

    pub fn key(&self) -> &str {
        &self.spec.connector
    }

    /// JSON Schema of a stream's records, from the spec or from its own file.
    pub fn schema(&self, stream: &str) -> Option<&Value> {
        let declared = self.spec.streams.iter().find(|other| other.name == stream);
        declared
            .and_then(|stream| stream.schema.as_ref())
            .or_else(|| self.schemas.get(stream))
    }

    fn read_schemas(&mut self, key: &str, problems: &mut Vec<Error>) {
        for (stream, text) in self.read_folder(key, "schemas", ".json", problems) {
            let path = format!("schemas/{stream}.json");
            let place = self.origin.place(key, &path);
            if self.spec.native.is_none()
                && let Err(error) = self.spec.stream(&stream)
            {
                problems.push(
                    Error::spec(format!("{} names no stream", place.display()))
                        .caused_by(error)
                        .hint(rename_hint(&self.spec, &stream)),
                );
                continue;
            }
            match parse_schema(&text) {
                Ok(schema) => {
                    self.schemas.insert(stream, schema);
                }
                Err(error) => problems.push(error.with("file", place.display())),
            }
        }
        for stream in &self.spec.streams {
            if let Some(schema) = &stream.schema
                && let Err(error) = check_schema(schema)
            {
                problems.push(error.with("stream", &stream.name));
            }
        }
        if let Some(config) = &self.spec.config
            && let Err(error) = check_schema(config)
        {
            problems.push(
                error
                    .with("field", "config")
                    .with("file", self.origin.place(key, SPEC_FILE).display()),
            );
        }
    }

    fn read_models(&mut self, key: &str, problems: &mut Vec<Error>) {
        for (model, sql) in self.read_folder(key, "gold", ".sql", problems) {
            if let Err(error) = name::check_gold(&model) {
                let place = self.origin.place(key, &format!("gold/{model}.sql"));
                problems.push(error.with("file", place.display()));
            }
            self.models.insert(model, sql);
        }
    }

    /// Stem and text of each file of a folder with this ending. Another ending is a problem: it
    /// would be ignored without anybody noticing.
    fn read_folder(
        &self,
        key: &str,
        folder: &str,
        ending: &str,
        problems: &mut Vec<Error>,
    ) -> Vec<(String, String)> {
        let paths = self.origin.list(key, folder).unwrap_or_else(|error| {
            problems.push(error);
            Vec::new()
        });
        let mut found = Vec::new();
        for path in paths {
            let Some(stem) = path.strip_suffix(ending) else {
                let place = self.origin.place(key, &format!("{folder}/{path}"));
                problems.push(
                    Error::spec(format!("{} does not end in {ending}", place.display()))
                        .hint("rename or remove the file"),
                );
                continue;
            };
            match self.origin.read_text(key, &format!("{folder}/{path}")) {
                Ok(Some(text)) => found.push((stem.to_owned(), text)),
                Ok(None) => {}
                Err(error) => problems.push(error),
            }
        }
        found
    }

    fn check_templates(&self, key: &str, problems: &mut Vec<Error>) {
        let place = self.origin.place(key, SPEC_FILE);
        let found = super::templates::check(&self.spec);
        problems.extend(found.into_iter().map(|error| error.with("file", place.display())));
    }
}

fn read_spec(key: &str, origin: &Origin) -> Result<ConnectorSpec> {
    let file = origin.place(key, SPEC_FILE);
    let text = origin.read_text(key, SPEC_FILE)?.ok_or_else(|| {
        Error::not_found(format!("{} does not exist", file.display()))
            .hint(format!("`weir connector new {key}` makes one"))
    })?;
    ConnectorSpec::parse(&file, &text)
}

fn wrong_folder(key: &str, named: &str, origin: &Origin) -> Error {
    Error::spec(format!(
        "the folder is called '{key}' but its connector '{named}'"
    ))
    .with("file", origin.place(key, SPEC_FILE).display())
    .hint(format!(
        "write 'connector: {key}', or rename the folder to '{named}'"
    ))
}

fn rename_hint(spec: &ConnectorSpec, stream: &str) -> String {
    let names: Vec<&str> = spec.streams.iter().map(|stream| stream.name.as_str()).collect();
    match closest(stream, &names) {
        Some(near) => format!("rename the file to {near}.json"),
        None => format!("name it after a stream: {}", names.join(", ")),
    }
}

fn parse_schema(text: &str) -> Result<Value> {
    let schema: Value = serde_json::from_str(text).map_err(|error| {
        Error::spec("the schema is not JSON")
            .caused_by(error)
            .hint("mend the JSON at the line and column named")
    })?;
    check_schema(&schema)?;
    Ok(schema)
}

fn check_schema(schema: &Value) -> Result<()> {
    if !schema.is_object() {
        return Err(
            Error::spec("a JSON Schema must be an object").hint("begin with { \"type\": \"object\" }")
        );
    }
    jsonschema::meta::validate(schema).map_err(|error| {
        Error::spec("not a valid JSON Schema")
            .with("at", error.instance_path().as_str())
            .with("problem", error.to_string())
            .hint("see https://json-schema.org/draft/2020-12")
    })
}
