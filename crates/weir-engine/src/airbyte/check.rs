//! The manifest's own check: a first record of the streams that it names.

use std::sync::Arc;

use serde_json::Value;
use weir_protocol::{Error, Result};

use super::dynamic::{self, Declared};
use super::env::Env;
use super::node::Node;
use super::stream::{Stream, StreamRead};
use super::template::py_text;

pub(crate) async fn check(env: &Arc<Env>, root: &Node<'_>, listed: Vec<Declared>) -> Result<()> {
    let check = root.get("check");
    let names: Vec<String> = check
        .iter()
        .flat_map(|check| check.list("stream_names"))
        .map(|name| py_text(name.value))
        .collect();
    let dynamic = check
        .as_ref()
        .map(|check| check.list("dynamic_streams_check_configs"))
        .unwrap_or_default();
    if let Some(check) = check
        .as_ref()
        .filter(|check| check.kind() == "CheckDynamicStream")
    {
        let count = check
            .int("stream_count")
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or(0);
        let mut all = listed;
        all.extend(dynamic::made(env, root).await?);
        if all.is_empty() {
            return Err(Error::spec("the manifest gives no stream to check")
                .hint("look at what its components_resolver finds with these settings"));
        }
        let reads = check.value.get("use_check_availability").and_then(Value::as_bool);
        if reads == Some(false) {
            return Ok(());
        }
        return all_of(env, root, all.into_iter().take(count)).await;
    }
    if !names.is_empty() || dynamic.is_empty() {
        let mut known = listed;
        let is_listed = |known: &[Declared], name: &String| known.iter().any(|stream| stream.name() == *name);
        if names.iter().any(|name| !is_listed(&known, name)) {
            known.extend(dynamic::made(env, root).await?);
        }
        if let Some(missing) = names.iter().find(|name| !is_listed(&known, name)) {
            return Err(Error::spec(format!(
                "the manifest's check names '{missing}', which is no stream"
            ))
            .hint("mend stream_names of the check"));
        }
        let chosen = known.into_iter().filter(|stream| names.contains(&stream.name()));
        all_of(env, root, chosen).await?;
    }
    if dynamic.is_empty() {
        return Ok(());
    }
    let made = dynamic::made(env, root).await?;
    for config in dynamic {
        let group = config.str("dynamic_stream_name").unwrap_or_default().to_owned();
        let count = config
            .int("stream_count")
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or(1);
        let of_group = made
            .iter()
            .filter(|stream| stream.group.as_ref() == Some(&group))
            .take(count);
        for stream in of_group {
            one(env, &stream.node(root)).await?;
        }
    }
    Ok(())
}

async fn all_of(env: &Arc<Env>, root: &Node<'_>, streams: impl Iterator<Item = Declared>) -> Result<()> {
    for stream in streams {
        one(env, &stream.node(root)).await?;
    }
    Ok(())
}

/// The first page of the first slice answers without error.
async fn one(env: &Arc<Env>, node: &Node<'_>) -> Result<()> {
    let stream = Arc::new(Stream::new(env, node, &Value::Null, false)?);
    let name = stream.name().to_owned();
    let read = async {
        let mut read = StreamRead::new(stream)?;
        if let Some(slice) = read.next_slice().await? {
            read.tracking().pages(&slice).await?.next().await?;
        }
        Ok::<_, Error>(())
    };
    read.await.map_err(|error| error.with("stream", name))
}
