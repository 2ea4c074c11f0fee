//! The files that make up a project, as `weir apply` keeps them: never a secret among them.

use std::path::Path;

use serde_json::Value;
use weir_control::policies::PolicyFile;
use weir_control::projects::{FOLDERS, Files, PROJECT_FILE};
use weir_control::secrets::Reference;
use weir_engine::catalog::Catalog;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Error, Result, yaml};

use super::{Project, read, substitute, walk};

/// Stands for the value of a variable, where only its place counts.
const VARIABLE: char = '\u{e000}';
/// What may stand before a variable in a header's value.
const SCHEMES: [&str; 4] = ["", "bearer", "basic", "token"];
/// Settings whose names say that they are secret.
const SECRET_WORDS: [&str; 6] = [
    "secret",
    "token",
    "password",
    "passphrase",
    "account_key",
    "private_key",
];

impl Project {
    /// Paths from the project's folder on, with their texts. Hidden files and backups of editors are none.
    pub(crate) fn files(&self) -> Result<Files> {
        let mut paths = vec![self.root.join(PROJECT_FILE)];
        for (folder, _) in FOLDERS {
            walk(&self.root.join(folder), &mut paths)?;
        }
        let mut files = Files::new();
        for path in paths {
            let shown = self.shown(&path);
            let parts: Vec<String> = shown
                .components()
                .map(|part| part.as_os_str().to_string_lossy().into_owned())
                .collect();
            let is_left_out = parts
                .iter()
                .any(|part| part.starts_with('.') || part.ends_with('~'));
            if !is_left_out {
                files.insert(parts.join("/"), read(&path)?);
            }
        }
        Ok(files)
    }

    /// `policies/**/*.cedar`.
    pub(crate) fn policy_files(&self) -> Result<Vec<PolicyFile>> {
        self.below_policies(".cedar")
    }

    /// `policies/**/*.test.yaml`.
    pub(crate) fn policy_cases(&self) -> Result<Vec<PolicyFile>> {
        self.below_policies(".test.yaml")
    }

    fn below_policies(&self, ending: &str) -> Result<Vec<PolicyFile>> {
        let mut paths = Vec::new();
        walk(&self.root.join("policies"), &mut paths)?;
        paths.retain(|path| path.to_string_lossy().ends_with(ending));
        paths.sort();
        paths
            .into_iter()
            .map(|path| {
                Ok(PolicyFile {
                    text: read(&path)?,
                    path: self.shown(&path).display().to_string(),
                })
            })
            .collect()
    }

    /// Refuses files that hold a secret itself instead of a reference to it.
    pub(crate) fn refuse_literal_secrets(&self, catalog: &Catalog) -> Result<()> {
        for (name, path) in self.connection_files()? {
            if let Some(error) = self.literal_secret(&name, &path, catalog)? {
                return Err(error);
            }
        }
        self.refuse_own_literals()
    }

    /// The same with all that there are. A file that cannot be read is told of elsewhere.
    pub(crate) fn literal_secrets(&self, catalog: &Catalog) -> Result<Vec<Error>> {
        let files = self.connection_files()?;
        let found = files.iter().filter_map(|(name, path)| {
            let found = self.literal_secret(name, path, catalog);
            found.ok().flatten()
        });
        Ok(found.chain(self.refuse_own_literals().err()).collect())
    }

    fn literal_secret(&self, name: &str, path: &Path, catalog: &Catalog) -> Result<Option<Error>> {
        let marked = |_: &str| Some(VARIABLE.to_string());
        let spec = self.read_connection(path, &marked, &|_, _, _| Ok(()))?;
        let field = literal_of(&spec, catalog);
        Ok(field.map(|field| literal(&format!("connections/{name}.yaml"), &field)))
    }

    fn refuse_own_literals(&self) -> Result<()> {
        let marked = |_: &str| Some(VARIABLE.to_string());
        let text = read(&self.root.join(PROJECT_FILE))?;
        let file = Path::new(PROJECT_FILE);
        let whole: Value = substitute(file, &text, &marked)?.parse(yaml::parse)?;
        match literal_in(&whole, "") {
            Some(field) => Err(literal(PROJECT_FILE, &field)),
            None => Ok(()),
        }
    }
}

/// Texts of all files below a folder, by their path in it.
pub(crate) fn folder_files(folder: &Path) -> Result<Files> {
    let mut paths = Vec::new();
    walk(folder, &mut paths)?;
    let mut files = Files::new();
    for path in paths {
        let below = path.strip_prefix(folder).unwrap_or(&path);
        let parts: Vec<String> = below
            .components()
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect();
        files.insert(parts.join("/"), read(&path)?);
    }
    Ok(files)
}

fn literal(file: &str, field: &str) -> Error {
    Error::spec("a secret stands in a file of the project")
        .with("file", file)
        .with("field", field)
        .hint("write ${NAME} or secret:NAME in its place; `weir secret set NAME` keeps the value")
}

/// Whether a text is nothing but a reference: beside a variable only the word of an HTTP scheme may stand.
fn is_reference(text: &str) -> bool {
    if Reference::parse(text).is_some() {
        return true;
    }
    let rest = text.replace(VARIABLE, "");
    let is_scheme = SCHEMES
        .iter()
        .any(|scheme| rest.trim().eq_ignore_ascii_case(scheme));
    rest.len() < text.len() && is_scheme
}

/// A secret that stands as itself below a setting whose schema says that it is one.
fn literal_below(value: &Value, schema: &Value, place: &str) -> Option<String> {
    let is_secret =
        schema["airbyte_secret"] == true || schema["writeOnly"] == true || schema["format"] == "password";
    match value {
        Value::String(text) => {
            (is_secret && !text.is_empty() && !is_reference(text)).then(|| place.to_owned())
        }
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let choices = ["oneOf", "anyOf", "allOf"].into_iter();
            let branches = choices.filter_map(|word| schema[word].as_array()).flatten();
            let mut schemas = std::iter::once(schema).chain(branches);
            schemas.find_map(|schema| {
                literal_below(value, &schema["properties"][name], &format!("{place}.{name}"))
            })
        }),
        Value::Array(items) => items
            .iter()
            .find_map(|item| literal_below(item, &schema["items"], place)),
        _ => None,
    }
}

fn literal_of(spec: &ConnectionSpec, catalog: &Catalog) -> Option<String> {
    let credential = spec.credential.iter().flat_map(|credential| &credential.values);
    let mut literals =
        credential.filter(|(_, value)| !value.expose().is_empty() && !is_reference(value.expose()));
    if let Some((name, _)) = literals.next() {
        return Some(format!("credential.{name}"));
    }
    let connector = catalog.get(&spec.connector).ok()?;
    let schema = connector.spec.config.as_ref()?;
    literal_below(&Value::Object(spec.config.clone()), schema, "config")
}

/// A text under a name that says it is secret.
fn literal_in(value: &Value, at: &str) -> Option<String> {
    match value {
        Value::Object(fields) => fields.iter().find_map(|(key, value)| {
            let place = format!("{at}{key}");
            let lower = key.to_lowercase();
            let is_secret = SECRET_WORDS.iter().any(|word| lower.contains(word));
            match value {
                Value::String(text) if is_secret && !text.is_empty() && !is_reference(text) => Some(place),
                other => literal_in(other, &format!("{place}.")),
            }
        }),
        Value::Array(items) => items.iter().find_map(|item| literal_in(item, at)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_beside_a_variable_is_one_still() {
        let marked = |text: &str| text.replace('$', &VARIABLE.to_string());
        for reference in ["$", "Bearer $", " $ ", "$$", "secret:key"] {
            assert!(is_reference(&marked(reference)), "{reference}");
        }
        for literal in ["k3y", "k3y$", "$-k3y", "Bearer k3y", "postgres://u:k3y@$/db"] {
            assert!(!is_reference(&marked(literal)), "{literal}");
        }
    }

    #[test]
    fn a_secret_is_found_however_deep_it_stands() {
        let secret = json!({ "type": "string", "airbyte_secret": true });
        let schema = json!({ "properties": {
            "host": { "type": "string" },
            "auth": { "oneOf": [
                { "properties": { "method": { "const": "none" } } },
                { "properties": { "keys": { "type": "array", "items": { "properties": { "key": secret } } } } },
            ] },
        } });
        let found = |config: Value| literal_below(&config, &schema, "config");
        assert_eq!(
            found(json!({ "auth": { "keys": [{ "key": "secret:a" }, { "key": "k3y" }] } })).as_deref(),
            Some("config.auth.keys.key")
        );
        assert_eq!(
            found(json!({ "host": "k3y", "auth": { "keys": [{ "key": "secret:a" }] } })),
            None
        );
    }
}
