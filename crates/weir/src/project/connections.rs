//! The connections of a project: `connections/<name>.yaml`.

use std::path::{Path, PathBuf};

use weir_protocol::connection::ConnectionSpec;
use weir_protocol::yaml::closest;
use weir_protocol::{Error, Result, Secret};

use super::{Environment, Project, read, substitute, walk};

/// Reads what a connection's file says in the words of its connector. The text holds secrets.
pub(crate) type Check<'a> = &'a dyn Fn(&ConnectionSpec, &Path, &str) -> Result<()>;

impl Project {
    /// Name and path of every connection file. One that holds nothing but comments is a sample.
    pub(crate) fn connection_files(&self) -> Result<Vec<(String, PathBuf)>> {
        let mut files = Vec::new();
        walk(&self.root.join("connections"), &mut files)?;
        files.retain(|path| {
            path.extension()
                .is_some_and(|ending| ending == "yaml" || ending == "yml")
        });
        files.sort();
        let mut found = Vec::new();
        for path in files {
            let name = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .unwrap_or_default();
            if !is_sample(&read(&path)?) {
                found.push((name.to_owned(), path));
            }
        }
        Ok(found)
    }

    /// Reads one connection by its name.
    pub(crate) fn connection(
        &self,
        name: &str,
        environment: Environment<'_>,
        check: Check<'_>,
    ) -> Result<ConnectionSpec> {
        let files = self.connection_files()?;
        match files.iter().find(|(other, _)| other == name) {
            Some((_, path)) => self.read_connection(path, environment, check),
            None => Err(unknown(name, &files)),
        }
    }

    pub(crate) fn read_connection(
        &self,
        path: &Path,
        environment: Environment<'_>,
        check: Check<'_>,
    ) -> Result<ConnectionSpec> {
        let shown = self.shown(path);
        let text = read(path)?;
        let substituted = substitute(&shown, &text, environment)?;
        let mut spec = substituted.parse(|file, text| {
            let spec = ConnectionSpec::parse(file, text)?;
            check(&spec, file, text)?;
            Ok(spec)
        })?;
        spec.variables = substituted.values().map(Secret::new).collect();
        spec.tls.ca_file = spec.tls.ca_file.map(|file| self.path(&file));
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        if spec.connection != stem {
            return Err(Error::spec(format!(
                "the file is called '{stem}' but its connection '{}'",
                spec.connection
            ))
            .with("file", shown.display())
            .hint("leave the field 'connection' out, or rename the file"));
        }
        Ok(spec)
    }
}

fn is_sample(text: &str) -> bool {
    text.lines()
        .map(str::trim)
        .all(|line| line.is_empty() || line.starts_with('#') || line == "---")
}

fn unknown(name: &str, files: &[(String, PathBuf)]) -> Error {
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let error = Error::not_found(format!("this project has no connection '{name}'"));
    match closest(name, &names) {
        Some(near) => error.hint(format!("did you mean '{near}'?")),
        None if names.is_empty() => error.hint(format!(
            "write connections/{name}.yaml; `weir init --help` shows how to make one"
        )),
        None => error.hint(format!("its connections are {}", names.join(", "))),
    }
}
