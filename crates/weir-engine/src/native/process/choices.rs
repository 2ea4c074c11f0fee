//! What a program declares of its streams, and what the connection chooses of that.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use weir_protocol::connection::StreamChoice;
use weir_protocol::spec::StreamPolicy;
use weir_protocol::{Error, ReadMode, Result, StreamDescriptor, SyncMode, name};

/// A stream as a program declares it.
#[derive(Debug, Clone, Default)]
pub(in crate::native) struct Declared {
    pub(in crate::native) name: String,
    pub(in crate::native) schema: Option<Value>,
    pub(in crate::native) primary_key: Vec<String>,
    /// Path of the field by which the program reads on, where it names one.
    pub(in crate::native) cursor: Option<String>,
    /// The cursor is the program's own: the connection cannot choose another.
    pub(in crate::native) has_own_cursor: bool,
    pub(in crate::native) reads_fully: bool,
    pub(in crate::native) reads_on: bool,
}

/// The chosen streams (all where none is chosen), each with what the connection says of it.
pub(in crate::native) fn described(
    declared: &[Declared],
    choices: &BTreeMap<String, StreamChoice>,
) -> Result<Vec<StreamDescriptor>> {
    let mut found: Vec<StreamDescriptor> = Vec::new();
    for stream in declared {
        let choice = choices.get(&stream.name);
        if choice.is_none() && !choices.is_empty() {
            continue;
        }
        let described = describe(stream, choice).map_err(|error| error.with("stream", &stream.name))?;
        if let Some(other) = found.iter().find(|other| other.entity == described.entity) {
            return Err(Error::spec(format!(
                "streams '{}' and '{}' would write the same table",
                other.name, stream.name
            ))
            .hint("choose one of them under streams:, and the other in a connection with another source:"));
        }
        found.push(described);
    }
    Ok(found)
}

fn describe(stream: &Declared, choice: Option<&StreamChoice>) -> Result<StreamDescriptor> {
    let choice = choice.cloned().unwrap_or_default();
    let primary_key = choice.primary_key.unwrap_or_else(|| stream.primary_key.clone());
    let cursor_field = chosen_cursor(stream, choice.cursor)?;
    let reads_on = stream.reads_on && (stream.has_own_cursor || cursor_field.is_some());
    let mode = match choice.mode {
        Some(mode) => {
            check_mode(stream, mode, reads_on)?;
            mode
        }
        None if !stream.reads_fully && reads_on => SyncMode::default_for(!primary_key.is_empty(), true),
        None => SyncMode::default_for(!primary_key.is_empty(), reads_on),
    };
    Ok(StreamDescriptor {
        is_received: false,
        name: stream.name.clone(),
        entity: entity(&stream.name),
        description: None,
        schema: choice.schema.or_else(|| stream.schema.clone()),
        primary_key,
        cursor_field,
        mode: Some(mode),
        policy: StreamPolicy {
            contract: choice.contract.unwrap_or_default(),
            pii: choice.pii.unwrap_or_default(),
            partition_by: choice.partition_by.unwrap_or_default(),
            explode: choice.explode.unwrap_or_default(),
            ..StreamPolicy::default()
        },
    })
}

fn chosen_cursor(stream: &Declared, chosen: Option<String>) -> Result<Option<String>> {
    match (chosen, &stream.cursor) {
        (Some(chosen), Some(own)) if stream.has_own_cursor && chosen != *own => Err(Error::spec(format!(
            "the cursor of this stream is '{own}', which the program decides"
        ))
        .with("cursor", chosen)
        .hint("remove cursor: from the stream")),
        (Some(chosen), _) => Ok(Some(chosen)),
        (None, own) => Ok(own.clone()),
    }
}

fn check_mode(stream: &Declared, mode: SyncMode, reads_on: bool) -> Result<()> {
    match mode.read() {
        ReadMode::Incremental if !stream.reads_on => Err(Error::spec(format!(
            "mode {mode} is not possible: the program reads this stream in full only"
        ))
        .hint("choose a full_refresh mode")),
        ReadMode::Incremental if !reads_on => Err(Error::spec(format!("mode {mode} needs a cursor"))
            .hint("name the field under the stream, as in cursor: updated_at")),
        ReadMode::FullRefresh if !stream.reads_fully => Err(Error::spec(format!(
            "mode {mode} is not possible: the program reads this stream incrementally only"
        ))
        .hint("choose an incremental mode")),
        _ => Ok(()),
    }
}

/// A stream's name as part of a table's. One of which nothing is left gets a digest.
fn entity(stream: &str) -> String {
    let entity = name::sanitize(stream);
    if !entity.is_empty() {
        return entity;
    }
    let digest = Sha256::digest(stream.as_bytes());
    let hex: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("stream_{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Declared {
        Declared {
            name: "Open Orders".to_owned(),
            primary_key: vec!["id".to_owned()],
            cursor: Some("updated_at".to_owned()),
            reads_fully: true,
            reads_on: true,
            ..Declared::default()
        }
    }

    fn with(stream: &Declared, choice: &str) -> Result<StreamDescriptor> {
        let choice: StreamChoice = serde_json::from_str(choice).unwrap();
        let choices = [(stream.name.clone(), choice)].into();
        described(std::slice::from_ref(stream), &choices).map(|mut found| found.remove(0))
    }

    #[test]
    fn a_stream_is_as_exact_as_its_key_and_cursor_allow() {
        let found = with(&stream(), "{}").unwrap();
        assert_eq!(
            (found.entity.as_str(), found.mode),
            ("open_orders", Some(SyncMode::IncrementalMerge))
        );
        let plain = Declared {
            cursor: None,
            ..stream()
        };
        assert_eq!(with(&plain, "{}").unwrap().mode, Some(SyncMode::FullRefreshMerge));
        let chosen = with(&plain, r#"{ "cursor": "at" }"#).unwrap();
        assert_eq!(chosen.mode, Some(SyncMode::IncrementalMerge));
        assert_eq!(chosen.cursor_field.as_deref(), Some("at"));
        let own = Declared {
            cursor: None,
            has_own_cursor: true,
            primary_key: Vec::new(),
            ..stream()
        };
        assert_eq!(with(&own, "{}").unwrap().mode, Some(SyncMode::IncrementalAppend));
        assert_eq!(entity("جيت").len(), "stream_".len() + 8);
    }

    #[test]
    fn what_the_program_cannot_do_is_refused() {
        let refusal = |stream: &Declared, choice| format!("{:?}", with(stream, choice).unwrap_err());
        let full = Declared {
            reads_on: false,
            ..stream()
        };
        insta::assert_snapshot!(refusal(&full, r#"{ "mode": "incremental_merge" }"#), @"[spec] mode incremental_merge is not possible: the program reads this stream in full only (stream: Open Orders) -> choose a full_refresh mode");
        let plain = Declared {
            cursor: None,
            ..stream()
        };
        insta::assert_snapshot!(refusal(&plain, r#"{ "mode": "incremental_merge" }"#), @"[spec] mode incremental_merge needs a cursor (stream: Open Orders) -> name the field under the stream, as in cursor: updated_at");
        let own = Declared {
            has_own_cursor: true,
            ..stream()
        };
        insta::assert_snapshot!(refusal(&own, r#"{ "cursor": "other" }"#), @"[spec] the cursor of this stream is 'updated_at', which the program decides (cursor: other, stream: Open Orders) -> remove cursor: from the stream");
        let twice = [
            stream(),
            Declared {
                name: "open_orders".to_owned(),
                ..stream()
            },
        ];
        insta::assert_snapshot!(format!("{:?}", described(&twice, &BTreeMap::new()).unwrap_err()), @"[spec] streams 'Open Orders' and 'open_orders' would write the same table -> choose one of them under streams:, and the other in a connection with another source:");
    }
}
