//! Every component type that manifests may name, so that a misspelt one is told before anything is
//! built. Which of them fit where is for the builder of each place to say.

use serde_json::Value;
use weir_protocol::yaml::closest;
use weir_protocol::{Error, Result};

use super::components;
use super::node::Node;
use super::template::py_text;

/// Sorted, for people.
const KNOWN: &[&str] = &[
    "AddFields",
    "AddedFieldDefinition",
    "ApiKeyAuthenticator",
    "AsyncJobStatusMap",
    "AsyncRetriever",
    "AuthFlow",
    "BasicHttpAuthenticator",
    "BearerAuthenticator",
    "BlockSimultaneousSyncsAction",
    "CartesianProductStreamSlicer",
    "CheckDynamicStream",
    "CheckStream",
    "CombinedExtractor",
    "ComplexFieldType",
    "ComponentMappingDefinition",
    "CompositeErrorHandler",
    "CompositeRawDecoder",
    "ConcurrencyLevel",
    "ConditionalStreams",
    "ConfigAddFields",
    "ConfigComponentsResolver",
    "ConfigMigration",
    "ConfigNormalizationRules",
    "ConfigRemapField",
    "ConfigRemoveFields",
    "ConstantBackoffStrategy",
    "CsvDecoder",
    "CsvParser",
    "CursorPagination",
    "DatetimeBasedCursor",
    "DeclarativeSource",
    "DeclarativeStream",
    "DefaultErrorHandler",
    "DefaultPaginator",
    "DpathExtractor",
    "DpathFlattenFields",
    "DpathValidator",
    "DynamicDeclarativeStream",
    "DynamicSchemaLoader",
    "DynamicStreamCheckConfig",
    "EmitPartialRecordMergeStrategy",
    "ExponentialBackoffStrategy",
    "FileUploader",
    "FixedWindowCallRatePolicy",
    "FlattenFields",
    "GroupByKeyMergeStrategy",
    "GroupingPartitionRouter",
    "GzipDecoder",
    "GzipParser",
    "HTTPAPIBudget",
    "HttpComponentsResolver",
    "HttpRequestRegexMatcher",
    "HttpRequester",
    "HttpResponseFilter",
    "IncrementingCountCursor",
    "InlineSchemaLoader",
    "IterableDecoder",
    "JsonDecoder",
    "JsonFileSchemaLoader",
    "JsonItemsDecoder",
    "JsonLineParser",
    "JsonParser",
    "JsonSchemaPropertySelector",
    "JsonlDecoder",
    "JwtAuthenticator",
    "KeyTransformation",
    "KeysReplace",
    "KeysToLower",
    "KeysToSnakeCase",
    "LegacySessionTokenAuthenticator",
    "LegacyToPerPartitionStateMigration",
    "ListPartitionRouter",
    "MinMaxDatetime",
    "MovingWindowCallRatePolicy",
    "NoAuth",
    "NoPagination",
    "OAuthAuthenticator",
    "OAuthConfigSpecification",
    "OffsetIncrement",
    "PageIncrement",
    "PageSizeReduction",
    "PaginationReset",
    "PaginationResetLimits",
    "ParametrizedComponentsResolver",
    "ParentFieldPath",
    "ParentStreamConfig",
    "PredicateValidator",
    "PropertiesFromEndpoint",
    "PropertyChunking",
    "PropertyLimit",
    "QueryProperties",
    "QuotaStatusSource",
    "Rate",
    "RateLimitedMultipleTokenAuthenticator",
    "RecordExpander",
    "RecordFilter",
    "RecordSelector",
    "RemoveFields",
    "RequestBodyGraphQL",
    "RequestBodyJsonObject",
    "RequestBodyPlainText",
    "RequestBodyUrlEncodedForm",
    "RequestOption",
    "RequestPath",
    "RequestWindowSplitting",
    "ResponseToFileExtractor",
    "SchemaTypeIdentifier",
    "SelectiveAuthenticator",
    "SessionTokenAuthenticator",
    "SessionTokenRequestApiKeyAuthenticator",
    "SessionTokenRequestBearerAuthenticator",
    "SimpleRetriever",
    "Spec",
    "StateDelegatingStream",
    "StreamConfig",
    "StreamGroup",
    "StreamParametersDefinition",
    "SubstreamPartitionRouter",
    "TokenQuota",
    "TypesMap",
    "UnionPartitionRouter",
    "UnlimitedCallRatePolicy",
    "ValidateAdheresToSchema",
    "WaitTimeFromHeader",
    "WaitTimeFromResponse",
    "WaitUntilTimeFromHeader",
    "XmlDecoder",
    "ZipfileDecoder",
    "ApiKey",
    "Bearer",
    "OAuth",
];

/// Members in which a `type` names no component: data, schemas, and what is not used as it stands.
const DATA: &[&str] = &[
    "$parameters",
    "definitions",
    "schema",
    "schemas",
    "metadata",
    "connection_specification",
    "request_parameters",
    "request_headers",
    "request_body",
    "request_body_json",
    "request_body_data",
    "advanced_auth",
    "value",
    "values",
    "parameters",
    "base_schema",
    "input_schema",
];

/// The nearest type that there is.
pub(super) fn nearest(kind: &str) -> Option<&'static str> {
    closest(kind, KNOWN)
}

pub(super) fn is_known(kind: &str) -> bool {
    KNOWN.contains(&kind) || kind.starts_with("Custom")
}

/// Refuses the first component whose type is misspelt, or that is Python code. A type that is like
/// none is told and let pass: the reference looks at no component that it does not need.
pub(super) fn check(node: &Node<'_>) -> Result<()> {
    let kind = node.kind();
    let is_code = kind.starts_with("Custom") && node.value.get("class_name").is_some();
    let is_strange = names_component(kind) && !is_known(kind);
    if is_code || (is_strange && nearest(kind).is_some()) {
        return Err(refusal(node, is_code));
    }
    if is_strange {
        tracing::warn!("{}", node.unknown("any component"));
    }
    match node.value {
        Value::Object(_) => {
            let below = node.members().into_iter();
            let mut used = below.filter(|(name, _)| !DATA.contains(name));
            used.try_for_each(|(_, node)| check(&node))
        }
        Value::Array(_) => node.items().iter().try_for_each(check),
        _ => Ok(()),
    }
}

/// Refuses the first property that stands in another form than its component reads it in, and what
/// cannot be obeyed. A name like one of the component's is told.
pub(super) fn check_fields(node: &Node<'_>) -> Result<()> {
    if node.value.is_array() {
        return node.items().iter().try_for_each(check_fields);
    }
    let kind = node.kind();
    let known = components::properties(kind);
    for (name, field) in node.members() {
        let is_handed_down = node
            .parameters()
            .get(name)
            .is_some_and(|value| value == field.value);
        if let Some(known) = known.filter(|_| !is_handed_down && !field.value.is_null()) {
            check_field(kind, known, name, &field)?;
        }
        if !DATA.contains(&name) {
            check_fields(&field)?;
        }
    }
    Ok(())
}

fn check_field(kind: &str, known: &[(&str, &str)], name: &str, field: &Node<'_>) -> Result<()> {
    let refused = components::REFUSED.iter();
    let mut refused = refused.filter(|(of, property, _)| *of == kind && *property == name);
    if let Some((_, _, why)) = refused.next() {
        return Err(field.error(format!("'{name}' of a {kind} is not available: {why}")));
    }
    let Some((_, forms)) = known.iter().find(|(property, _)| *property == name) else {
        let names: Vec<&str> = known.iter().map(|(property, _)| *property).collect();
        if !name.starts_with('$')
            && name != "type"
            && let Some(near) = closest(name, &names)
        {
            tracing::warn!("{kind} has no '{name}' ({}); did you mean '{near}'?", field.path);
        }
        return Ok(());
    };
    let fits = match field.value {
        Value::Array(_) => forms.contains('a'),
        Value::Object(_) => forms.contains('o'),
        Value::String(_) => forms.contains('s'),
        // Text may be written without quotes.
        Value::Bool(_) => forms.contains(['b', 's']),
        Value::Number(_) => forms.contains(['i', 'n', 's']),
        Value::Null => true,
    };
    if fits || forms.is_empty() {
        return Ok(());
    }
    let found = match field.value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
        other => format!("'{}'", py_text(other)),
    };
    Err(field
        .error(format!(
            "'{name}' of a {kind} is {found}; it must be {}",
            components::words(forms)
        ))
        .hint("mend the value there"))
}

fn refusal(node: &Node<'_>, is_code: bool) -> Error {
    if is_code {
        return node.unknown("a component");
    }
    node.unknown("any component")
}

/// Components are called in camel case; other values under `type` are somebody's data.
fn names_component(kind: &str) -> bool {
    kind.starts_with(|c: char| c.is_ascii_uppercase())
        && kind.chars().any(|c| c.is_ascii_lowercase())
        && kind.chars().all(|c| c.is_ascii_alphanumeric())
}
