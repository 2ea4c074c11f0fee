//! Runs of work on one stream's table that is no sync.

use weir_protocol::Result;

use super::{RunStatus, Trigger, is_running, sql, step, sweep_in, take_over};
use crate::audit::{self, Record};
use crate::leases::{self, Lease, Owner};
use crate::maintenance::Kind;
use crate::store::Scope;
use crate::{Connection, Store, connections};

/// Begins such a run: takes the stream's lease, or is refused.
pub(crate) async fn start_maintenance(
    store: &Store,
    connection: &Connection,
    stream: &str,
    kind: Kind,
    run: &str,
    owner: &Owner,
) -> Result<Lease> {
    let scope = Scope::Tenant(&connection.tenant);
    let subject = format!("connection:{}", connection.name);
    let record = &Record::new(&connection.tenant, "run.start", subject)
        .of(run)
        .with("kind", kind.as_str())
        .with("streams", vec![stream]);
    let acting = store.acting();
    store
        .write_alone(scope, &connection.name, "begin the run", |db, _| {
            Box::pin(async move {
                connections::register_in(db, connection).await?;
                let mut records: Vec<Record> = take_over(db, connection, stream, run)
                    .await?
                    .into_iter()
                    .collect();
                records.extend(sweep_in(db).await?.records);
                sql::insert(db, run, connection, kind.as_str(), Trigger::Person).await?;
                let lease = leases::take(db, connection, stream, run, owner).await?;
                // Running already where this is the second time: the answer to the first was lost.
                if !is_running(db, run).await? {
                    step(db, run, RunStatus::Running, None).await?;
                }
                sql::insert_attempt(db, run, &format!("{}/{}", owner.host, owner.pid)).await?;
                records.push(record.clone());
                audit::append_each_in(db, acting, records).await?;
                Ok(lease)
            })
        })
        .await
}
