//! What a process does: a sync, or a command of maintenance.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;
use weir_control::maintenance::{self, Kind};
use weir_control::runs::{self, Begin, Trigger};
use weir_control::sync::{Bounds, Silent};
use weir_control::{Connection, Owner, RunStatus, Store, SyncOptions, SyncPlan, states, sync};
use weir_lake::AsOf;
use weir_lake::quarantine::Choice;
use weir_protocol::{Error, Result};

use super::flaw::Flawed;
use super::source::Api;
use super::world::{CONNECTION, Place, SOURCE, STREAM, TABLE};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Sync {
        full: bool,
        restart: bool,
    },
    Compact,
    /// Files are kept that were written within an hour, or none that are not needed.
    Vacuum {
        keeps: bool,
    },
    Release,
    Rebuild,
    Restore(i64),
}

pub(super) fn connection() -> Connection {
    Connection::new(CONNECTION, SOURCE, SOURCE)
}

/// A process of a machine that nobody sees into: whether it is dead is told by its lease alone.
fn owner() -> Owner {
    Owner {
        host: "far away".to_owned(),
        pid: 1,
        machine: "far away".to_owned(),
        process_start: "1".to_owned(),
    }
}

impl Task {
    /// Says in words what came of it.
    pub(super) async fn run(self, place: Place) -> Result<String> {
        let lake = place.lake();
        let plan = place.conf.plan();
        match self {
            Self::Sync { full, restart } => sync_once(&place, full, restart).await,
            Self::Compact => {
                let done = lake.compact(TABLE, 64 << 20).await?;
                Ok(format!("{} files become {}", done.files_before, done.files_after))
            }
            Self::Vacuum { keeps } => {
                let hour = SignedDuration::from_hours(if keeps { -1 } else { 1 });
                let done = lake.vacuum(TABLE, Timestamp::now() + hour, false).await?;
                Ok(format!("{} files removed", done.paths.len()))
            }
            Self::Release => {
                let work = lake.release_held(&plan, &Choice::All, "somebody", "mended");
                let done = held(&place, Kind::Rebuild, work).await?;
                let landed = done.map_or(0, |receipt| receipt.books.landed);
                Ok(format!("{landed} released"))
            }
            Self::Rebuild => {
                let work = async {
                    let store = Store::open(&place.store).await?;
                    let known = states::list(&store, weir_control::DEFAULT_TENANT, CONNECTION).await?;
                    let mut plan = plan;
                    plan.known_sequence = known.first().map_or(0, |known| known.sequence);
                    let runs = lake.orphaned_runs(&plan).await?;
                    let reached = runs::reached(&store, weir_control::DEFAULT_TENANT, STREAM, &runs).await?;
                    lake.rebuild_known(&plan, true, &reached).await
                };
                let done = Box::pin(held(&place, Kind::Rebuild, work)).await?;
                Ok(format!("rebuilt with {} rows", done.rows))
            }
            Self::Restore(version) => {
                let work = lake.restore(TABLE, AsOf::Version(version), "restore");
                let done = held(&place, Kind::Maintenance, work).await?;
                Ok(format!("restored, next {:?}", done.next))
            }
        }
    }
}

/// Does what a command does to a stream's table.
async fn held<T>(place: &Place, kind: Kind, work: impl Future<Output = Result<T>>) -> Result<T> {
    let store = Store::open(&place.store).await?;
    let run = uuid::Uuid::now_v7().to_string();
    maintenance::hold_as(&store, &connection(), STREAM, (kind, &run, &owner()), work).await
}

async fn sync_once(place: &Place, full: bool, restart: bool) -> Result<String> {
    let store = Store::open(&place.store).await?;
    let plan = SyncPlan {
        connection: connection(),
        source: Arc::new(Api(place.shop.clone())),
        destination: Arc::new(Flawed {
            inner: Arc::new(place.lake()),
            flaw: place.objects.flaw,
        }),
        streams: vec![place.conf.stream()],
        options: SyncOptions {
            full,
            restart,
            bounds: Bounds {
                rows: place.conf.rows,
                bytes: u64::MAX,
                age: Duration::from_secs(100_000),
            },
            conflict_wait: Duration::ZERO,
            ..SyncOptions::default()
        },
        begin: Begin::Anew(Trigger::Person),
        owner: owner(),
        cancel: CancellationToken::new(),
        observer: Arc::new(Silent),
        sharing: None,
    };
    let mut outcome = sync(&store, plan).await?;
    let stream = outcome.streams.remove(0);
    match stream.error {
        Some(error) => Err(error),
        None if stream.status == RunStatus::Succeeded => {
            let books = stream.books;
            Ok(format!(
                "read {}, landed {}, held {}",
                books.read, books.landed, books.quarantined
            ))
        }
        None => Err(Error::internal(format!("the sync ended as {}", stream.status)).hint("report it")),
    }
}
