//! What the store knows of one stream of a run.

use sqlx::AnyConnection;

use crate::leases::Lease;

pub(super) async fn stream_status(
    db: &mut AnyConnection,
    run: &str,
    stream: &str,
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("SELECT status FROM run_streams WHERE run = $1 AND stream = $2")
        .bind(run)
        .bind(stream)
        .fetch_optional(db)
        .await
}

pub(super) async fn stream_mode(
    db: &mut AnyConnection,
    lease: &Lease,
    run: &str,
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar(
        "SELECT mode FROM run_streams WHERE run = $1 AND stream = $2
           AND EXISTS (SELECT 1 FROM runs WHERE id = $1 AND tenant = $3 AND connection = $4)",
    )
    .bind(run)
    .bind(&lease.stream)
    .bind(&lease.tenant)
    .bind(&lease.connection)
    .fetch_optional(db)
    .await
}
