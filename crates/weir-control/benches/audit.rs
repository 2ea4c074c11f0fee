//! How fast the audit trail grows and is verified.
//!
//! `cargo bench -p weir-control --bench audit -- [RECORDS]`, with `WEIR_DATABASE_URL` on PostgreSQL (an empty
//! database), else on a SQLite file in a temporary folder.
#![expect(clippy::print_stdout, reason = "a benchmark says what it measured")]

use std::time::Instant;

use weir_control::audit::{self, Record};
use weir_control::{DEFAULT_TENANT, Place, Store};
use weir_protocol::{Error, Result};

const ALONE: usize = 1_000;
const AT_ONCE: usize = 200;

fn records(count: usize) -> Vec<Record> {
    (0..count)
        .map(|at| Record::new(DEFAULT_TENANT, "bench.note", format!("thing:{at}")))
        .collect()
}

#[tokio::main]
async fn main() -> Result<()> {
    let given = std::env::args().skip(1).find_map(|text| text.parse().ok());
    let count: usize = given.unwrap_or(200_000);
    let folder = tempfile::tempdir().map_err(|error| Error::internal(error.to_string()))?;
    #[expect(clippy::disallowed_methods, reason = "a benchmark is told where to measure")]
    let place = match std::env::var("WEIR_DATABASE_URL") {
        Ok(url) => Place::parse(&url)?,
        Err(_) => Place::Sqlite(folder.path().join("weir.db")),
    };
    let store = Store::connect(&place).await?;
    let began = Instant::now();
    for record in &records(ALONE) {
        audit::append(&store, record).await?;
    }
    println!("one by one: {:.0} appends/s", rate(ALONE, began));
    let began = Instant::now();
    for _ in 0..count / AT_ONCE {
        audit::append_all(&store, &records(AT_ONCE)).await?;
    }
    println!("{AT_ONCE} at once: {:.0} appends/s", rate(count, began));
    let began = Instant::now();
    audit::verify(&store, DEFAULT_TENANT, &[], None)
        .await?
        .map_err(|broken| Error::internal(format!("{broken:?}")))?;
    println!("verify: {:.0} records/s", rate(ALONE + count, began));
    Ok(())
}

fn rate(count: usize, began: Instant) -> f64 {
    count as f64 / began.elapsed().as_secs_f64()
}
