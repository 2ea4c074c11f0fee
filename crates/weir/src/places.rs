//! Where people want streams to be read on from, checked against the connection's source and the lake.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use weir_control::states::{Asked, Streams, Wish};
use weir_control::sync::doubles;
use weir_control::{Connection, Store};
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Error, Result, Source, StreamDescriptor, StreamState, name};

use crate::commands::Context;
use crate::wiring::{Wiring, chosen_streams, registered};

/// The streams of the project's connections, with its files as they are now.
pub(crate) struct ProjectStreams {
    context: Arc<Context>,
    store: Store,
}

impl ProjectStreams {
    pub(crate) fn new(context: Arc<Context>, store: Store) -> Self {
        Self { context, store }
    }
}

#[async_trait]
impl Streams for ProjectStreams {
    async fn wish(
        &self,
        connection: &str,
        stream: &str,
        asked: &Asked,
        accept_duplicates: bool,
    ) -> Result<(Connection, Wish)> {
        let wiring = Wiring::open(&self.context)?.over(self.store.clone());
        wish(&wiring, (connection, stream), asked, accept_duplicates).await
    }
}

/// The connection, and what its stream's next run is to read on from.
pub(crate) async fn wish(
    wiring: &Wiring,
    (connection, stream): (&str, &str),
    asked: &Asked,
    accept_duplicates: bool,
) -> Result<(Connection, Wish)> {
    let spec = wiring.connection(connection)?;
    let (source, found) = known_stream(wiring, &spec, stream).await?;
    if !accept_duplicates {
        refuse_doubles(wiring, &spec, &found).await?;
    }
    let wish = match asked {
        Asked::Beginning => Wish::Reset,
        Asked::Cursor(cursor) => Wish::From(at(source.cursor_value(stream, cursor)?)),
        Asked::State(state) => Wish::From(state.clone()),
    };
    Ok((registered(&spec), wish))
}

/// The connection's source, and the stream; refuses one that it does not have.
async fn known_stream(
    wiring: &Wiring,
    connection: &ConnectionSpec,
    stream: &str,
) -> Result<(Arc<dyn Source>, StreamDescriptor)> {
    let source = wiring.source(connection).await?;
    let found = chosen_streams(source.as_ref(), connection, &[stream.to_owned()]).await?;
    let found = found.into_iter().next();
    let found = found.ok_or_else(|| {
        Error::not_found(format!("there is no stream '{stream}'")).hint("`weir discover` lists the streams")
    })?;
    Ok((source, found))
}

/// Refuses to have records read again that the lake holds, where no key tells them apart.
pub(crate) async fn refuse_doubles(
    wiring: &Wiring,
    connection: &ConnectionSpec,
    stream: &StreamDescriptor,
) -> Result<()> {
    if !doubles(stream) {
        return Ok(());
    }
    let table = name::silver(connection.source(), &stream.entity);
    let lake = wiring.lake()?;
    match lake.state(&table, &connection.connection, &stream.name).await? {
        Some(_) => Err(weir_control::sync::would_double(&connection.connection, stream)),
        None => Ok(()),
    }
}

/// A state in which every slice stands at this cursor.
fn at(cursor: Value) -> StreamState {
    StreamState {
        floor: Some(cursor),
        complete: true,
        ..StreamState::default()
    }
}
