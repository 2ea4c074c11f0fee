//! Every component of the reference's schema with its properties, and what weir makes of them. A
//! property that stands there in another form than it is read in is refused before anything is read:
//! else it would be taken for absent.

use std::collections::BTreeMap;
use std::sync::LazyLock;

type Properties = Vec<(&'static str, &'static str)>;

/// One component a line with its properties, each with the forms that it may have: a list (`a`), text
/// (`s`), a whole number (`i`), a number (`n`), a truth value (`b`), a mapping (`o`); none where
/// anything goes.
static COMPONENTS: LazyLock<BTreeMap<&'static str, Properties>> = LazyLock::new(|| {
    let lines = include_str!("components.txt").lines();
    let read = lines.filter_map(|line| {
        let mut words = line.split(' ');
        let kind = words.next()?;
        Some((kind, words.filter_map(|word| word.split_once(':')).collect()))
    });
    read.collect()
});

/// Properties that cannot be obeyed, and why.
pub(super) const REFUSED: &[(&str, &str, &str)] = &[(
    "DeclarativeStream",
    "file_uploader",
    "weir lands records as rows of tables and has no place for files; leave file_uploader out to read the records that describe them",
)];

/// Properties of a component that is known.
pub(super) fn properties(kind: &str) -> Option<&'static [(&'static str, &'static str)]> {
    COMPONENTS.get(kind).map(Vec::as_slice)
}

/// What stands in [`COMPONENTS`] in words.
pub(super) fn words(forms: &str) -> String {
    let word = |form: char| match form {
        'a' => "a list",
        'b' => "true or false",
        'i' => "a whole number",
        'n' => "a number",
        'o' => "a mapping",
        _ => "text",
    };
    forms.chars().map(word).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;

    use super::*;

    /// Properties that change neither requests nor records here, and why.
    const WITHOUT_EFFECT: &[(&str, &str, &str)] = &[
        ("AuthFlow", "auth_flow_type", "told by `spec` as it stands"),
        (
            "AuthFlow",
            "oauth_config_specification",
            "told by `spec` as it stands",
        ),
        ("AuthFlow", "predicate_key", "told by `spec` as it stands"),
        ("AuthFlow", "predicate_value", "told by `spec` as it stands"),
        ("ConfigMigration", "description", "a comment"),
        ("DeclarativeSource", "description", "a comment"),
        ("DeclarativeSource", "metadata", "of the vendor's own tools"),
        (
            "DeclarativeSource",
            "schemas",
            "read only where a `$ref` leads to it",
        ),
        (
            "DeclarativeSource",
            "version",
            "weir reads what it knows of every version",
        ),
        (
            "HttpRequester",
            "use_tcp_keepalive",
            "connections are always kept alive",
        ),
        (
            "OAuthConfigSpecification",
            "complete_oauth_output_specification",
            "told by `spec` as it stands",
        ),
        (
            "OAuthConfigSpecification",
            "complete_oauth_server_input_specification",
            "told by `spec` as it stands",
        ),
        (
            "OAuthConfigSpecification",
            "complete_oauth_server_output_specification",
            "told by `spec` as it stands",
        ),
        (
            "OAuthConfigSpecification",
            "oauth_connector_input_specification",
            "told by `spec` as it stands",
        ),
        (
            "OAuthConfigSpecification",
            "oauth_user_input_from_connector_config_specification",
            "told by `spec` as it stands",
        ),
    ];

    fn folder() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
    }

    fn sources(folder: &Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, text);
            } else if path.file_name().is_some_and(|name| name != "components.rs") {
                text.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }

    fn reason(list: &[(&str, &str, &'static str)], kind: &str, property: &str) -> Option<&'static str> {
        let mut found = list.iter();
        let found = found.find(|(known, name, _)| *known == kind && *name == property);
        found.map(|(_, _, why)| *why)
    }

    /// Crude, but it finds what nobody reads.
    #[test]
    fn every_property_is_read_somewhere_or_named_with_a_reason() {
        let mut text = String::new();
        sources(&folder().join("src/airbyte"), &mut text);
        // Made from another name where it is read.
        let made = ["client_id_name", "client_secret_name"];
        for (kind, properties) in &*COMPONENTS {
            for (property, _) in properties {
                let is_read = text.contains(&format!("\"{property}\"")) || made.contains(property);
                let is_named = reason(WITHOUT_EFFECT, kind, property).is_some()
                    || reason(REFUSED, kind, property).is_some();
                assert!(
                    is_read || is_named || *kind == "FileUploader",
                    "{kind}.{property}"
                );
            }
        }
    }

    #[test]
    fn the_reference_lists_them_all() {
        let mut text = String::from(
            "# Components of low-code manifests\n\nWritten by a test from `weir-engine/src/airbyte/components.rs`, which holds the schema of `airbyte-cdk` 7.39.1.\nEvery property is obeyed but for those with a remark. A property in another form than its component takes is refused with\nits file and line; components of Python code (`Custom…`) are refused by name (docs/compatibility.md).\n\n| component | properties |\n|---|---|\n",
        );
        for (kind, properties) in COMPONENTS.iter().filter(|(kind, _)| **kind != "FileUploader") {
            let named = properties.iter().map(|(property, _)| {
                let refused = reason(REFUSED, kind, property);
                let unused = reason(WITHOUT_EFFECT, kind, property);
                match (refused, unused) {
                    (Some(why), _) => format!("`{property}` (refused: {why})"),
                    (None, Some(why)) => format!("`{property}` (no effect: {why})"),
                    (None, None) => format!("`{property}`"),
                }
            });
            let named = named.collect::<Vec<_>>().join(", ");
            writeln!(text, "| {kind} | {named} |").unwrap();
        }
        let path = folder().join("../../docs/reference/manifest-components.md");
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        if there != text {
            std::fs::write(path.with_extension("md.new"), &text).unwrap();
        }
        assert_eq!(there, text, "move manifest-components.md.new over it");
    }
}
