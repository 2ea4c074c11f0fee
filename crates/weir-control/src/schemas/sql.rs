use sqlx::AnyConnection;
use weir_protocol::Receipt;
use weir_protocol::destination::{SchemaChange, SchemaChangeKind};

use super::StoredChange;
use crate::events::{self, Event, Family};
use crate::leases::Lease;
use crate::store::Outcome;

fn kind(kind: SchemaChangeKind) -> &'static str {
    match kind {
        SchemaChangeKind::Added => "added",
        SchemaChangeKind::Widened => "widened",
        SchemaChangeKind::Vanished => "vanished",
        SchemaChangeKind::Conflict => "conflict",
    }
}

/// A change that several receipts of one run report is kept once.
pub(crate) async fn record(db: &mut AnyConnection, lease: &Lease, receipt: &Receipt) -> Outcome<()> {
    for change in &receipt.schema_changes {
        let inserted = sqlx::query(
            "INSERT INTO schema_changes (tenant, connection, stream, run, table_name, column_name, kind,
                                         from_type, to_type, changed_at_ms)
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, now_ms FROM clock WHERE true
             ON CONFLICT DO NOTHING",
        )
        .bind(&lease.tenant)
        .bind(&lease.connection)
        .bind(&lease.stream)
        .bind(&lease.run)
        .bind(&receipt.table)
        .bind(&change.column)
        .bind(kind(change.kind))
        .bind(change.from.as_deref().unwrap_or_default())
        .bind(change.to.as_deref().unwrap_or_default())
        .execute(&mut *db)
        .await?;
        if inserted.rows_affected() == 1 {
            events::append_in(db, &told(lease, receipt, change)).await?;
        }
    }
    Ok(())
}

fn told(lease: &Lease, receipt: &Receipt, change: &SchemaChange) -> Event {
    Event::of_connection(&lease.tenant, Family::SchemaChanged, &lease.connection)
        .of(&lease.run)
        .with("run", lease.run.as_str())
        .with("stream", lease.stream.as_str())
        .with("table", receipt.table.as_str())
        .with("column", change.column.as_str())
        .with("change", kind(change.kind))
        .with("from", change.from.clone())
        .with("to", change.to.clone())
}

pub(super) async fn history(
    db: &mut AnyConnection,
    tenant: &str,
    connection: &str,
) -> sqlx::Result<Vec<StoredChange>> {
    sqlx::query_as(
        "SELECT stream, run, table_name, column_name, kind, from_type, to_type, changed_at_ms
         FROM schema_changes WHERE tenant = $1 AND connection = $2 ORDER BY changed_at_ms, run, stream, column_name, kind",
    )
    .bind(tenant)
    .bind(connection)
    .fetch_all(db)
    .await
}
