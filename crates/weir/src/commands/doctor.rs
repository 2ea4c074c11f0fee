use std::path::Path;
use std::time::Instant;

use clap::Args;
use weir_control::clocks::CLOCK_OFFSET_MAX;
use weir_control::{DEFAULT_TENANT, fitness, secrets};
use weir_lake::Lake;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Error, Result};

use super::Context;
use crate::config::variable;
use crate::output::{Format, Sheet, bytes, line};
use crate::project::check_schedule;
use crate::wiring::{Wiring, check_file};

/// A disk with less room than this is nearly full.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// A clock that differs more from the lake's storage makes signatures and cursors wrong.
const CLOCK_S_MAX: i64 = 60;

/// Check that everything weir needs is there, and say what to do where it is not
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir doctor")]
pub(crate) struct DoctorArgs {}

/// What was looked at, and what was found: a note, or what is wrong.
struct Finding {
    about: String,
    found: Result<String>,
}

pub(crate) async fn run(_args: &DoctorArgs, context: &Context) -> Result<()> {
    let wiring = Wiring::open(context)?;
    let mut findings = vec![Finding {
        about: "project".to_owned(),
        found: Ok(wiring.project.root.display().to_string()),
    }];
    findings.extend(connectors(&wiring));
    findings.push(Finding {
        about: "store".to_owned(),
        found: store(&wiring).await,
    });
    findings.extend(behind_store(&wiring).await);
    match wiring.lake() {
        Ok(lake) => findings.extend(probe(&lake).await),
        Err(error) => findings.push(Finding {
            about: "lake".to_owned(),
            found: Err(error),
        }),
    }
    findings.push(Finding {
        about: "disk".to_owned(),
        found: disk(&wiring),
    });
    findings.extend(connections(&wiring).await?);
    if let Ok(store) = wiring.store().await {
        store.close().await;
    }
    report(findings, context.format())
}

fn connectors(wiring: &Wiring) -> Vec<Finding> {
    let count = wiring.catalog.list().count();
    let mut findings = vec![Finding {
        about: "connectors".to_owned(),
        found: Ok(format!("{count} usable")),
    }];
    findings.extend(wiring.catalog.problems().map(|problem| {
        Finding {
            about: format!("connector {}", problem.connector),
            found: Err(Error::spec(problem.error.to_string()).hint(
                problem
                    .error
                    .next_step()
                    .unwrap_or("`weir validate` lists every problem"),
            )),
        }
    }));
    findings
}

async fn store(wiring: &Wiring) -> Result<String> {
    let store = wiring.store().await?;
    store.ping().await?;
    Ok(store.place().to_string())
}

/// What only a store that answers can tell: whether its clock is this machine's, and whether its secrets can be read.
async fn behind_store(wiring: &Wiring) -> Vec<Finding> {
    // What is wrong with it stands in the finding about it.
    let Ok(store) = wiring.store().await else {
        return Vec::new();
    };
    let clock = async {
        match store.clock_offset().await?.problem("the store's") {
            None => Ok(format!("within {} s of the store's", CLOCK_OFFSET_MAX.as_secs())),
            Some(error) => Err(error),
        }
    };
    let keys = async {
        fitness::require(&store, DEFAULT_TENANT, wiring).await?;
        let found = if secrets::any(&store, DEFAULT_TENANT).await? {
            "opens the stored secrets"
        } else {
            "not needed: no secret is stored"
        };
        Ok(found.to_owned())
    };
    vec![
        Finding {
            about: "store's clock".to_owned(),
            found: clock.await,
        },
        Finding {
            about: "master key".to_owned(),
            found: keys.await,
        },
    ]
}

/// Writes, reads and deletes a small object, and compares clocks by it.
async fn probe(lake: &Lake) -> Vec<Finding> {
    let begun = Instant::now();
    let probed = lake.probe().await;
    let ms = begun.elapsed().as_millis();
    let (access, clock) = match probed {
        Ok(written_at) => {
            let off_s = (jiff::Timestamp::now().as_second() - written_at.as_second()).abs();
            let clock = if off_s > CLOCK_S_MAX {
                Err(
                    Error::unavailable(format!("this clock and the storage's differ by {off_s} s"))
                        .hint("set the clock by NTP: signed requests and cursors depend on it"),
                )
            } else {
                Ok(format!("within {CLOCK_S_MAX} s of the storage's"))
            };
            (Ok(format!("written, read and deleted in {ms} ms")), Some(clock))
        }
        Err(error) => (Err(error), None),
    };
    let mut findings = vec![Finding {
        about: "lake".to_owned(),
        found: access,
    }];
    findings.extend(clock.map(|found| Finding {
        about: "clock".to_owned(),
        found,
    }));
    findings
}

/// Room where the store (and a local lake) lies.
fn disk(wiring: &Wiring) -> Result<String> {
    let found = rustix::fs::statvfs(&wiring.project.root).map_err(|error| {
        crate::errors::file("measure the free space of", &wiring.project.root, error.into())
    })?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    if free < FREE_BYTES_MIN {
        return Err(Error::destination(format!("only {} are free", bytes(free)))
            .hint("make room, or `weir lake retention` moves old data to an archive"));
    }
    Ok(format!("{} free", bytes(free)))
}

/// Every connection must be readable, with its variables set and its settings accepted.
async fn connections(wiring: &Wiring) -> Result<Vec<Finding>> {
    let files = wiring.project.connection_files()?;
    let mut checked = Vec::with_capacity(files.len());
    for (name, path) in files {
        let check = |connection: &ConnectionSpec, file: &Path, text: &str| {
            check_schedule(connection, file, text)?;
            check_file(&wiring.catalog, connection, file, text)
        };
        let found = match wiring.project.read_connection(&path, &variable, &check) {
            Ok(connection) => wiring.source(&connection).await.map(drop),
            Err(error) => Err(error),
        };
        checked.push(Finding {
            found: found.map(|()| format!("complete; `weir check {name}` asks the system itself")),
            about: format!("connection {name}"),
        });
    }
    Ok(checked)
}

fn report(findings: Vec<Finding>, format: Format) -> Result<()> {
    let mut sheet = Sheet::new(["about", "ok", "found", "next step"]);
    let mut first = None;
    let mut wrong = 0;
    for finding in findings {
        match finding.found {
            Ok(note) => sheet.push([finding.about.into(), "ok".into(), note.into(), "".into()]),
            Err(error) => {
                wrong += 1;
                let next = error.next_step().unwrap_or_default().to_owned();
                sheet.push([
                    finding.about.into(),
                    "WRONG".into(),
                    error.to_string().into(),
                    next.into(),
                ]);
                first.get_or_insert(error);
            }
        }
    }
    sheet.print(format)?;
    match first {
        None => {
            if format == Format::Table {
                line("everything is in order");
            }
            Ok(())
        }
        Some(error) => Err(Error::new(
            error.kind(),
            format!("{wrong} of the checks found something wrong"),
        )
        .hint("do what stands in the column 'next step', then run `weir doctor` again")),
    }
}
