//! `$parameters`, handed down from component to component, and the types that components have by
//! where they stand.

use serde_json::{Map, Value};

const TYPES: &[(&str, &str)] = &[
    ("AddFields.fields", "AddedFieldDefinition"),
    ("CompositeErrorHandler.error_handlers", "DefaultErrorHandler"),
    (
        "ConfigComponentsResolver.components_mapping",
        "ComponentMappingDefinition",
    ),
    ("ConfigComponentsResolver.stream_config", "StreamConfig"),
    ("CursorPagination.decoder", "JsonDecoder"),
    (
        "CustomPartitionRouter.parent_stream_configs",
        "ParentStreamConfig",
    ),
    ("DatetimeBasedCursor.end_datetime", "MinMaxDatetime"),
    ("DatetimeBasedCursor.end_time_option", "RequestOption"),
    ("DatetimeBasedCursor.start_datetime", "MinMaxDatetime"),
    ("DatetimeBasedCursor.start_time_option", "RequestOption"),
    ("DeclarativeSource.check", "CheckStream"),
    ("DeclarativeSource.spec", "Spec"),
    ("DeclarativeSource.streams", "DeclarativeStream"),
    ("DeclarativeStream.retriever", "SimpleRetriever"),
    ("DeclarativeStream.schema_loader", "JsonFileSchemaLoader"),
    ("DefaultErrorHandler.response_filters", "HttpResponseFilter"),
    ("DefaultPaginator.decoder", "JsonDecoder"),
    ("DefaultPaginator.page_size_option", "RequestOption"),
    ("DpathExtractor.decoder", "JsonDecoder"),
    ("DpathExtractor.record_expander", "RecordExpander"),
    (
        "DynamicDeclarativeStream.components_resolver",
        "ConfigComponentResolver",
    ),
    ("DynamicDeclarativeStream.stream_template", "DeclarativeStream"),
    ("DynamicSchemaLoader.retriever", "SimpleRetriever"),
    (
        "HttpComponentsResolver.components_mapping",
        "ComponentMappingDefinition",
    ),
    ("HttpComponentsResolver.retriever", "SimpleRetriever"),
    ("HttpRequester.error_handler", "DefaultErrorHandler"),
    ("ListPartitionRouter.request_option", "RequestOption"),
    ("ParentStreamConfig.request_option", "RequestOption"),
    ("ParentStreamConfig.stream", "DeclarativeStream"),
    ("RecordExpander.parent_fields", "ParentFieldPath"),
    ("RecordSelector.extractor", "DpathExtractor"),
    ("RecordSelector.record_filter", "RecordFilter"),
    ("SchemaTypeIdentifier.types_map", "TypesMap"),
    ("SimpleRetriever.paginator", "NoPagination"),
    ("SimpleRetriever.record_selector", "RecordSelector"),
    ("SimpleRetriever.requester", "HttpRequester"),
    (
        "SubstreamPartitionRouter.parent_stream_configs",
        "ParentStreamConfig",
    ),
];

const CUSTOM_TYPES: &[(&str, &str)] = &[
    (
        "CompositeErrorHandler.backoff_strategies",
        "CustomBackoffStrategy",
    ),
    ("DeclarativeStream.retriever", "CustomRetriever"),
    ("DeclarativeStream.transformations", "CustomTransformation"),
    ("DefaultErrorHandler.backoff_strategies", "CustomBackoffStrategy"),
    ("DefaultPaginator.pagination_strategy", "CustomPaginationStrategy"),
    ("HttpRequester.authenticator", "CustomAuthenticator"),
    ("HttpRequester.error_handler", "CustomErrorHandler"),
    ("RecordSelector.extractor", "CustomRecordExtractor"),
    ("SimpleRetriever.partition_router", "CustomPartitionRouter"),
];

/// The component with types filled in and parameters handed down. `place` is `Type.field` of where
/// it stands. Of a parameter given both above and here, the one here wins, unless told otherwise.
pub(crate) fn propagate(
    place: &str,
    component: &Value,
    above: &Map<String, Value>,
    above_wins: Option<bool>,
) -> Value {
    let Some(members) = component.as_object() else {
        return component.clone();
    };
    let mut members = members.clone();
    if !members.contains_key("type") {
        let known = if members.contains_key("class_name") {
            CUSTOM_TYPES
        } else {
            TYPES
        };
        if let Some((_, found)) = known.iter().find(|(known, _)| *known == place) {
            members.insert("type".to_owned(), Value::from(*found));
        }
    }
    let mut parameters = above.clone();
    if let Some(Value::Object(own)) = members.shift_remove("$parameters") {
        for (name, value) in own {
            if above_wins == Some(true) {
                parameters.entry(name).or_insert(value);
            } else {
                parameters.insert(name, value);
            }
        }
    }
    if is_schema(&members) {
        return Value::Object(members);
    }
    if !members.contains_key("type") {
        nested_only(place, &mut members, &parameters, above_wins);
        return Value::Object(members);
    }
    for (name, value) in &parameters {
        let is_set = members
            .get(name)
            .is_some_and(super::super::template::json_is_true);
        if !is_set {
            members.insert(name.clone(), value.clone());
        }
    }
    let of = members
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let names: Vec<String> = members.keys().cloned().collect();
    for name in names {
        let Some(field) = members.get_mut(&name) else {
            continue;
        };
        if !field.is_object() && !field.is_array() {
            continue;
        }
        // A component does not get the parameter that is named like its own place.
        let held = parameters.shift_remove(&name);
        let below = format!("{of}.{name}");
        match field {
            Value::Array(items) => {
                for item in items.iter_mut().filter(|item| item.is_object()) {
                    *item = propagate(&below, item, &parameters, above_wins);
                }
            }
            field => *field = propagate(&below, field, &parameters, above_wins),
        }
        if let Some(held) = held {
            parameters.insert(name, held);
        }
    }
    if !parameters.is_empty() {
        members.insert("$parameters".to_owned(), Value::Object(parameters));
    }
    Value::Object(members)
}

/// A mapping that is no component may hold components.
fn nested_only(
    place: &str,
    members: &mut Map<String, Value>,
    parameters: &Map<String, Value>,
    above_wins: Option<bool>,
) {
    for field in members.values_mut() {
        let is_component = field
            .get("type")
            .is_some_and(super::super::template::json_is_true);
        if field.is_object() && is_component {
            *field = propagate(place, field, parameters, above_wins);
        }
    }
}

fn is_schema(members: &Map<String, Value>) -> bool {
    match members.get("type") {
        Some(Value::String(kind)) => kind == "object",
        Some(Value::Array(_) | Value::Object(_)) => true,
        _ => false,
    }
}
