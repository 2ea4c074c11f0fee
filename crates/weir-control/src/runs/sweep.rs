//! Finds runs whose process died, and lets their next attempts follow.

use sqlx::AnyConnection;
use weir_protocol::Result;

use super::{RunStatus, overall, queue, rules, sql, told};
use crate::audit::{self, Record};
use crate::leases::Owner;
use crate::store::{Outcome, Scope};
use crate::{Store, backfills};

/// Marks running runs that hold no living lease as abandoned; gives back how many.
pub async fn sweep(store: &Store) -> Result<u64> {
    let acting = store.acting();
    store
        .write_alone(Scope::Everyone, "sweep", "look for runs that died", |db, _| {
            Box::pin(async move {
                let swept = sweep_in(db).await?;
                audit::append_each_in(db, acting, swept.records).await?;
                Ok(swept.dead)
            })
        })
        .await
}

/// What a look for runs that died found.
#[derive(Default)]
pub(super) struct Swept {
    pub(super) dead: u64,
    /// Attempts that follow. To be audited last: see [`audit::append_in`].
    pub(super) records: Vec<Record>,
}

/// A run of which every stream has ended, and whose own end is not stored yet, ends as they did: it may
/// be alive and about to say the same.
pub(super) async fn sweep_in(db: &mut AnyConnection) -> Outcome<Swept> {
    let mut swept = Swept::default();
    for (run, has_right) in sql::unfinished(db).await? {
        let holders = sql::living_holders(db, &run).await?;
        if !holders.iter().all(Owner::is_dead) {
            continue;
        }
        // A worker that has only just begun holds no stream yet; one known to be dead need not be waited for.
        if has_right && holders.is_empty() {
            continue;
        }
        // Its end may have been said since the list was read.
        let status = sql::lock_status(db, &run).await?;
        if status.is_none_or(|status| status.parse().is_ok_and(RunStatus::is_final)) {
            continue;
        }
        let streams = sql::stream_statuses(db, &run).await?;
        let streams: Vec<RunStatus> = streams
            .iter()
            .map(|status| status.parse())
            .collect::<Result<_>>()?;
        if rules::has_ended(&streams) {
            let status = overall(streams);
            sql::set_status(db, &run, status, None).await?;
            sql::finish_attempt(db, &run, None).await?;
            let follows = match status {
                RunStatus::Failed => queue::retry(db, &run, queue::Cause::Failed(None)).await?,
                _ => None,
            };
            told::ended(db, &run, status, None, follows.is_some()).await?;
            let follows = match follows {
                None => backfills::follow_in(db, &run, status, None).await?,
                retried => retried,
            };
            swept.records.extend(follows);
        } else {
            if sql::abandon_run(db, &run).await? {
                told::stale(db, &run).await?;
            }
            let follows = match queue::retry(db, &run, queue::Cause::Died).await? {
                None => backfills::follow_in(db, &run, RunStatus::Abandoned, None).await?,
                retried => retried,
            };
            swept.records.extend(follows);
            swept.dead += 1;
        }
    }
    Ok(swept)
}
