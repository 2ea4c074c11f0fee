//! Which stream writes which folders and tables of the lake. Two that write the same one would take
//! each other's records for leftovers, so that is refused before anything is read.

use std::collections::BTreeMap;

use weir_engine::catalog::Catalog;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Error, Result, StreamDescriptor, name};

use crate::config::variable;
use crate::engine;
use crate::project::Project;

/// The streams of one connection, as far as they are known without asking its source.
pub(crate) struct Writer {
    connection: String,
    source: String,
    /// None: whatever the source has.
    streams: Option<Vec<Target>>,
}

struct Target {
    stream: String,
    /// Names under `bronze/` and `silver/`.
    places: Vec<String>,
}

impl Writer {
    /// None where the connection cannot be read as it stands, which is told elsewhere.
    pub(crate) fn new(catalog: &Catalog, connection: &ConnectionSpec) -> Option<Self> {
        let connector = catalog.get(&connection.connector).ok()?;
        let declared = engine::declared_streams(connector, connection).ok()?;
        let chosen = |stream: &StreamDescriptor| {
            connection.streams.is_empty() || connection.streams.contains_key(&stream.name)
        };
        let mut writer = Self {
            connection: connection.connection.clone(),
            source: connection.source().to_owned(),
            streams: None,
        };
        if let Some(streams) = declared {
            writer.knows(streams.iter().filter(|stream| chosen(stream)));
        } else if !connection.streams.is_empty() {
            let named = connection
                .streams
                .iter()
                .map(|(stream, choice)| StreamDescriptor {
                    name: stream.clone(),
                    entity: stream.clone(),
                    policy: weir_protocol::spec::StreamPolicy {
                        explode: choice.explode.clone().unwrap_or_default(),
                        ..Default::default()
                    },
                    ..StreamDescriptor::default()
                });
            writer.knows(named.collect::<Vec<_>>().iter());
        }
        Some(writer)
    }

    pub(crate) fn knows<'a>(&mut self, streams: impl Iterator<Item = &'a StreamDescriptor>) {
        let targets = streams.map(|stream| target(&self.source, stream));
        self.streams = Some(targets.collect());
    }
}

fn target(source: &str, stream: &StreamDescriptor) -> Target {
    let table = name::silver(source, &stream.entity);
    let children = stream.policy.explode.iter();
    let mut places: Vec<String> = children
        .map(|field| format!("{table}_{}", name::sanitize(field)))
        .collect();
    places.push(name::bronze(source, &stream.name));
    places.push(table);
    Target {
        stream: stream.name.clone(),
        places,
    }
}

/// Every place that two streams would write.
pub(crate) fn clashes(writers: &[Writer]) -> Vec<Error> {
    let mut found: Vec<Clash<'_>> = Vec::new();
    let mut by_place: BTreeMap<&str, (&Writer, &Target)> = BTreeMap::new();
    for writer in writers {
        for target in writer.streams.iter().flatten() {
            // One place that they share says it.
            let mut shared = target.places.iter().rev().filter_map(|place| {
                by_place
                    .get(place.as_str())
                    .map(|(other, theirs)| (place, *other, *theirs))
            });
            if let Some((place, other, theirs)) = shared.next() {
                found.push(Clash {
                    place,
                    one: (other, theirs),
                    two: (writer, target),
                });
            }
            for place in &target.places {
                by_place.entry(place).or_insert((writer, target));
            }
        }
    }
    let mut found = told(&found);
    for (index, writer) in writers.iter().enumerate() {
        let unknown = |other: &&Writer| writer.streams.is_none() || other.streams.is_none();
        let same = writers.iter().skip(index + 1).filter(unknown);
        for other in same.filter(|other| other.source == writer.source) {
            found.push(
                Error::spec(format!(
                    "connections '{}' and '{}' would write the same tables",
                    writer.connection, other.connection
                ))
                .with("source", &writer.source)
                .hint("give one of them another 'source:'"),
            );
        }
    }
    found
}

struct Clash<'a> {
    place: &'a str,
    one: (&'a Writer, &'a Target),
    two: (&'a Writer, &'a Target),
}

/// One error for each pair of connections: if one of their streams clashes, most do.
fn told(clashes: &[Clash<'_>]) -> Vec<Error> {
    let mut pairs: BTreeMap<(&str, &str), Vec<&Clash<'_>>> = BTreeMap::new();
    for clash in clashes {
        let pair = (clash.one.0.connection.as_str(), clash.two.0.connection.as_str());
        pairs.entry(pair).or_default().push(clash);
    }
    pairs
        .into_values()
        .filter_map(|all| {
            let (first, rest) = all.split_first()?;
            let rest: Vec<&str> = rest.iter().map(|clash| clash.two.1.stream.as_str()).collect();
            let error = first.error();
            Some(if rest.is_empty() {
                error
            } else {
                error.with("also", rest.join(", "))
            })
        })
        .collect()
}

impl Clash<'_> {
    fn error(&self) -> Error {
        let ((one, first), (other, second)) = (self.one, self.two);
        let hint = if one.connection == other.connection {
            "give one of the streams another 'name' or 'entity'"
        } else {
            "give one of the connections another 'source:', or choose other streams in it"
        };
        Error::spec(format!(
            "streams '{}.{}' and '{}.{}' would both write '{}' in the lake",
            one.connection, first.stream, other.connection, second.stream, self.place
        ))
        .hint(hint)
    }
}

/// As [`refuse_shared`], as far as it is known without asking the source.
pub(crate) fn refuse_shared_declared(
    project: &Project,
    catalog: &Catalog,
    connection: &ConnectionSpec,
) -> Result<()> {
    let connector = catalog.get(&connection.connector)?;
    match engine::declared_streams(connector, connection)? {
        Some(streams) => refuse_shared(project, catalog, connection, &streams),
        None => Ok(()),
    }
}

/// Refuses to sync a connection that writes what another stream of the project writes. `streams` are
/// those that its source says it has.
pub(crate) fn refuse_shared(
    project: &Project,
    catalog: &Catalog,
    connection: &ConnectionSpec,
    streams: &[StreamDescriptor],
) -> Result<()> {
    let mut writers: Vec<Writer> = Vec::new();
    for (name, path) in project.connection_files()? {
        let environment = |name: &str| Some(variable(name).unwrap_or_else(|| name.to_owned()));
        let own = name == connection.connection;
        let other = || project.read_connection(&path, &environment, &|_, _, _| Ok(()));
        // One that cannot be read is told when it is used, and by `weir validate`.
        let writer = if own {
            Writer::new(catalog, connection)
        } else {
            other().ok().and_then(|other| Writer::new(catalog, &other))
        };
        writers.extend(writer);
    }
    for writer in &mut writers {
        if writer.connection == connection.connection && writer.streams.is_none() {
            writer.knows(streams.iter());
        }
    }
    let (own, others): (Vec<_>, Vec<_>) = writers
        .into_iter()
        .partition(|writer| writer.connection == connection.connection);
    let Some(own) = own.into_iter().next() else {
        return Ok(());
    };
    // What two others share is theirs to mend.
    if let Some(error) = clashes(std::slice::from_ref(&own)).into_iter().next() {
        return Err(error);
    }
    let mut pair = vec![own];
    for other in others {
        pair.truncate(1);
        pair.push(other);
        if let Some(error) = clashes(&pair).into_iter().next() {
            return Err(error);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(connection: &str, source: &str, streams: Option<&[(&str, &str, &[&str])]>) -> Writer {
        let mut writer = Writer {
            connection: connection.to_owned(),
            source: source.to_owned(),
            streams: None,
        };
        let described = |(name, entity, explode): &(&str, &str, &[&str])| StreamDescriptor {
            name: (*name).to_owned(),
            entity: (*entity).to_owned(),
            policy: weir_protocol::spec::StreamPolicy {
                explode: explode.iter().map(|field| (*field).to_owned()).collect(),
                ..Default::default()
            },
            ..StreamDescriptor::default()
        };
        if let Some(streams) = streams {
            let streams: Vec<_> = streams.iter().map(described).collect();
            writer.knows(streams.iter());
        }
        writer
    }

    fn messages(writers: &[Writer]) -> Vec<String> {
        clashes(writers)
            .iter()
            .map(|error| error.message().to_owned())
            .collect()
    }

    #[test]
    fn what_two_streams_would_write_is_told_with_both_names() {
        let one = || writer("one", "shop", Some(&[("orders", "orders", &["lines"])]));
        let two = writer("two", "shop", Some(&[("orders", "orders", &[])]));
        assert_eq!(
            messages(&[one(), two]),
            ["streams 'one.orders' and 'two.orders' would both write 'shop_orders' in the lake"]
        );
        // Underscores make one name of two.
        let split = writer("two", "shop_orders", Some(&[("lines", "lines", &[])]));
        assert_eq!(
            messages(&[one(), split]),
            ["streams 'one.orders' and 'two.lines' would both write 'shop_orders_lines' in the lake"]
        );
        let twice = writer("one", "shop", Some(&[("a", "x", &[]), ("b", "x", &[])]));
        assert_eq!(
            messages(&[twice]),
            ["streams 'one.a' and 'one.b' would both write 'shop_x' in the lake"]
        );
        let other = writer("two", "store", Some(&[("orders", "orders", &[])]));
        assert!(messages(&[one(), other]).is_empty());
        let unknown = writer("two", "shop", None);
        assert_eq!(
            messages(&[one(), unknown]),
            ["connections 'one' and 'two' would write the same tables"]
        );
    }
}
