//! What must be true of the end, and of every version on the way there.

use std::collections::{BTreeMap, BTreeSet};

use arrow::json::LineDelimitedWriter;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::Value;
use weir_control::{DEFAULT_TENANT, runs, states};
use weir_lake::AsOf;
use weir_protocol::{ReadMode, WriteMode};

use super::process::{Task, connection};
use super::shop::{IMMORTAL, Item, Shape};
use super::story::{LEASE_MS, Story, sync};
use super::world::{SOURCE, STREAM, TABLE, World};

type Row = BTreeMap<String, Value>;
type Fault = Result<(), String>;

/// Columns by which two tables are compared.
const COLUMNS: [&str; 7] = ["id", "at", "version", "part", "total", "note", "_is_current"];

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Fault {
    if holds { Ok(()) } else { Err(what()) }
}

fn int(row: &Row, column: &str) -> u64 {
    row.get(column).and_then(Value::as_u64).unwrap_or(u64::MAX)
}

/// Nothing fails any more: the stream is synced to its end, and then all is looked at.
pub(super) fn end(story: &mut Story) -> Fault {
    for turn in ["first", "second"] {
        finish(story, turn)?;
    }
    story.world.place.conf.contract = weir_protocol::spec::Contract::Evolve;
    calm(story, Task::Release)?;
    let rows = rows(&story.world, None)?;
    table(&story.world, &rows)?;
    let record = history(story)?;
    bronze(story, &rows, &record)?;
    books(&story.world, &record)?;
    calm(story, Task::Rebuild)?;
    let rebuilt = self::rows(&story.world, None)?;
    same(&rows, &rebuilt)
}

/// Does a task without any trouble.
fn calm(story: &mut Story, task: Task) -> Fault {
    let place = story.world.place.clone();
    let done = story.world.runtime.block_on(task.run(place));
    story.tell(&format!("in the end {task:?}: {done:?}"));
    done.map(drop)
        .map_err(|error| format!("{task:?} fails in the end: {error:?}"))
}

fn finish(story: &mut Story, turn: &str) -> Fault {
    let mut last = Ok(());
    for _ in 0..3 {
        last = calm(story, sync());
        if last.is_ok() {
            return Ok(());
        }
        story.world.jump(LEASE_MS);
    }
    last.map_err(|fault| format!("the {turn} sync at the end: {fault}"))
}

/// The rows of the table, now or at a version.
fn rows(world: &World, version: Option<i64>) -> Result<Vec<Row>, String> {
    let lake = world.place.lake();
    let read = async {
        let batches = lake.rows(TABLE, version.map(AsOf::Version)).await?;
        batches.try_collect::<Vec<_>>().await
    };
    let batches = world
        .runtime
        .block_on(read)
        .map_err(|error| format!("{error:?}"))?;
    let mut writer = LineDelimitedWriter::new(Vec::new());
    for batch in &batches {
        writer.write(batch).map_err(|error| error.to_string())?;
    }
    writer.finish().map_err(|error| error.to_string())?;
    let text = String::from_utf8(writer.into_inner()).map_err(|error| error.to_string())?;
    let row = |line| serde_json::from_str(line).map_err(|error| format!("{line}: {error}"));
    text.lines().map(row).collect()
}

fn deleted(row: &Row) -> bool {
    row.get("_deleted_at").is_some_and(|at| !at.is_null())
}

fn is_current(row: &Row) -> bool {
    row.get("_is_current").is_none_or(|flag| *flag == true)
}

/// The table against what the shop has and had.
fn table(world: &World, rows: &[Row]) -> Fault {
    let conf = world.place.conf;
    let shop = world.place.shop.lock().unwrap();
    for row in rows {
        let known = shop.ever.get(&int(row, "version"));
        let is_true = known.is_some_and(|item| {
            (item.id, item.at) == (int(row, "id"), int(row, "at")) && item.shape != Shape::Wrong
        });
        ensure(is_true, || format!("the shop never had this: {row:?}"))?;
    }
    let held = held(world)?;
    let good = |item: &&Item| item.shape != Shape::Wrong;
    for item in shop.items.values().filter(|item| item.shape == Shape::Wrong) {
        ensure(held.contains(&item.version), || {
            format!("neither held nor landed: {item:?}")
        })?;
    }
    let mut copies: BTreeMap<u64, u64> = BTreeMap::new();
    for row in rows {
        *copies.entry(int(row, "version")).or_default() += 1;
    }
    let times = if conf.mode.write() == WriteMode::Append && conf.reads_in_full() {
        copies.values().copied().max().unwrap_or(1)
    } else {
        1
    };
    for item in shop.items.values().filter(good) {
        let found = copies.get(&item.version).copied().unwrap_or(0);
        ensure(found == times, || {
            format!("{found} rows instead of {times} of {item:?}")
        })?;
    }
    ensure(copies.values().all(|count| *count == times), || {
        format!("rows stand twice, or not as often as others: {copies:?}")
    })?;
    if conf.is_keyed
        && matches!(
            conf.mode.write(),
            WriteMode::Merge | WriteMode::Replace | WriteMode::History
        )
    {
        let mut ids = BTreeSet::new();
        for row in rows.iter().filter(|row| is_current(row)) {
            ensure(ids.insert(int(row, "id")), || {
                format!("two rows of one key: {row:?}")
            })?;
        }
    }
    for row in rows.iter().filter(|row| is_current(row)) {
        let live = shop.items.get(&int(row, "id"));
        let is_newest =
            live.is_none_or(|item| item.version == int(row, "version") || item.shape == Shape::Wrong);
        let keeps_versions = conf.mode.write() == WriteMode::Append;
        ensure(is_newest || keeps_versions, || {
            format!("an older version stands: {row:?}")
        })?;
        ensure(live.is_none() || !deleted(row), || {
            format!("marked as vanished though it is there: {row:?}")
        })?;
        // A refresh that brought all told what vanished.
        let must_go = live.is_none() && conf.reads_in_full() && held.is_empty();
        let is_gone = conf.mode.write() == WriteMode::Merge && deleted(row);
        ensure(!must_go || is_gone || keeps_versions, || {
            format!("not told as vanished: {row:?}")
        })?;
    }
    Ok(())
}

/// Versions of the records that wait in quarantine.
fn held(world: &World) -> Result<BTreeSet<u64>, String> {
    let lake = world.place.lake();
    let listing = lake.quarantined(SOURCE, STREAM, usize::MAX);
    let listing = world
        .runtime
        .block_on(listing)
        .map_err(|error| format!("{error:?}"))?;
    let version = |record: &[u8]| {
        let record: Value = serde_json::from_slice(record).ok()?;
        record["version"].as_u64()
    };
    Ok(listing
        .entries
        .iter()
        .filter_map(|entry| version(&entry.record))
        .collect())
}

/// What a version's log entry says.
#[derive(Debug, Default, Clone)]
struct Entry {
    version: i64,
    operation: String,
    has_files: bool,
    /// The stream's record, where the version has a new one.
    record: Value,
}

fn log(world: &World) -> Vec<Entry> {
    let memory = &world.place.objects.memory;
    let folder = Path::from(format!("silver/{TABLE}/_delta_log"));
    let mut entries: Vec<Entry> = world.runtime.block_on(async {
        let mut found = Vec::new();
        let mut objects = memory.list(Some(&folder));
        while let Some(object) = objects.try_next().await.unwrap() {
            let name = object.location.filename().unwrap().to_owned();
            let Some(version) = name.strip_suffix(".json").and_then(|digits| digits.parse().ok()) else {
                continue;
            };
            let bytes = memory.get(&object.location).await.unwrap().bytes().await.unwrap();
            found.push(entry(version, &bytes));
        }
        found
    });
    entries.sort_by_key(|entry| entry.version);
    entries
}

fn entry(version: i64, bytes: &[u8]) -> Entry {
    let mut entry = Entry {
        version,
        ..Entry::default()
    };
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let action: Value = serde_json::from_slice(line).unwrap();
        entry.has_files |= action.get("add").is_some() || action.get("remove").is_some();
        if let Some(operation) = action["commitInfo"]["operation"].as_str() {
            operation.clone_into(&mut entry.operation);
        }
        if let Some(text) = action["domainMetadata"]["configuration"].as_str() {
            entry.record = serde_json::from_str(text).unwrap();
        }
    }
    entry
}

pub(super) fn newest_version(world: &World) -> i64 {
    log(world).last().map_or(0, |entry| entry.version)
}

/// Every version that can still be read, one after the other. Gives the newest record.
fn history(story: &mut Story) -> Result<Value, String> {
    let turns = story.world.turns();
    let world = &story.world;
    let conf = world.place.conf;
    let mut turn = 0;
    let mut record = Value::Null;
    let mut before: BTreeMap<u64, u64> = BTreeMap::new();
    for entry in log(world) {
        if !entry.record.is_null() {
            record.clone_from(&entry.record);
        }
        if matches!(entry.operation.as_str(), "WRITE" | "PUBLISH FULL REFRESH") && !entry.record.is_null() {
            let run = entry.record["run"].as_str().unwrap_or_default();
            ensure(turns.iter().any(|holder| holder == run), || {
                format!("nobody knows the run of {entry:?}")
            })?;
            // A run may have had several turns: the first that is not over is its.
            let mut left = turns.iter().skip(turn);
            turn += left
                .position(|holder| holder == run)
                .ok_or_else(|| format!("a commit under a term that was over: {entry:?}"))?;
        }
        // A version of the log that changes no row (none adds or takes files) shows what the one before did.
        if !entry.has_files {
            continue;
        }
        // Vacuum may have taken the files of an older version.
        let Ok(rows) = rows(world, Some(entry.version)) else {
            continue;
        };
        let goes_back = entry.operation == "RESTORE";
        let replaces = entry.operation == "PUBLISH FULL REFRESH";
        let mut now: BTreeMap<u64, u64> = BTreeMap::new();
        for row in rows.iter().filter(|row| is_current(row)) {
            let newest = now.entry(int(row, "id")).or_default();
            *newest = int(row, "at").max(*newest);
        }
        if conf.mode.write() != WriteMode::History && !goes_back && !replaces {
            for (id, at) in &before {
                ensure(now.get(id).is_some_and(|now| now >= at), || {
                    format!(
                        "version {} has lost what the one before had: id {id} at {at}",
                        entry.version
                    )
                })?;
            }
        }
        if conf.mode.read() == ReadMode::FullRefresh && !rows.is_empty() && !goes_back {
            let all = (1..=IMMORTAL).all(|id| now.contains_key(&id));
            ensure(all, || {
                format!("version {} shows a part of a refresh: {now:?}", entry.version)
            })?;
        }
        before = now;
    }
    ensure(!record.is_null(), || "nothing was ever committed".to_owned())?;
    Ok(record)
}

fn all_runs(world: &World) -> Result<Vec<weir_control::Run>, String> {
    world.runtime.block_on(async {
        let store = weir_control::Store::open(&world.place.store)
            .await
            .map_err(|error| format!("{error:?}"))?;
        runs::list(
            &store,
            DEFAULT_TENANT,
            &runs::RunFilter {
                limit: 500,
                ..Default::default()
            },
        )
        .await
        .map_err(|error| format!("{error:?}"))
    })
}

/// Bronze holds what landed, once.
fn bronze(story: &Story, rows: &[Row], record: &Value) -> Fault {
    let memory = &story.world.place.objects.memory;
    let lines = story.world.runtime.block_on(async {
        let mut lines: Vec<Value> = Vec::new();
        let mut objects = memory.list(Some(&Path::from("bronze")));
        while let Some(object) = objects.try_next().await.unwrap() {
            let name = object.location.filename().and_then(|name| name.split_once('-'));
            let sequence: Option<u64> = name.and_then(|(digits, _)| digits.parse().ok());
            // What a process wrote that died before its commit lies beyond, until the number is used.
            if sequence > record["sequence"].as_u64() {
                continue;
            }
            let bytes = memory.get(&object.location).await.unwrap().bytes().await.unwrap();
            let text =
                zstd::decode_all(bytes.as_ref()).map_err(|error| format!("{}: {error}", object.location))?;
            for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                lines.push(serde_json::from_slice(line).map_err(|error| error.to_string())?);
            }
        }
        Ok::<_, String>(lines)
    })?;
    let place = |at: &Value, version: &Value| {
        let at: jiff::Timestamp = at.as_str().and_then(|at| at.parse().ok()).unwrap_or_default();
        (at.as_millisecond(), version.as_u64())
    };
    let mut known = BTreeSet::new();
    for line in &lines {
        let is_new = known.insert(place(&line["emitted_at"], &line["record"]["version"]));
        ensure(is_new, || format!("a line stands twice in Bronze: {line}"))?;
    }
    for row in rows {
        let null = Value::Null;
        let wanted = place(
            row.get("_emitted_at").unwrap_or(&null),
            row.get("version").unwrap_or(&null),
        );
        ensure(known.contains(&wanted), || {
            format!("Bronze lacks the record of {row:?}")
        })?;
    }
    let replaced = story.world.place.conf.mode.write() == WriteMode::Replace;
    if !story.was_restored && !story.was_full && !replaced {
        let count = record["lines"].as_u64();
        let counted = || {
            log(&story.world).into_iter().map(|entry| {
                (
                    entry.version,
                    entry.operation,
                    entry.record["sequence"].clone(),
                    entry.record["lines"].clone(),
                )
            })
        };
        ensure(count == Some(lines.len() as u64), || {
            format!(
                "Bronze has {} lines, the table was made of {count:?}: {:?}",
                lines.len(),
                counted().collect::<Vec<_>>()
            )
        })?;
    }
    Ok(())
}

/// The books of every run, and the copy of the state.
fn books(world: &World, record: &Value) -> Fault {
    let swept = world.runtime.block_on(async {
        let store = weir_control::Store::open(&world.place.store).await?;
        runs::sweep(&store).await
    });
    swept.map_err(|error| format!("{error:?}"))?;
    for run in all_runs(world)? {
        ensure(run.status.is_final(), || format!("a run does not end: {run:?}"))?;
        for stream in &run.streams {
            ensure(stream.books.balance(), || {
                format!("books do not balance: {run:?}")
            })?;
        }
    }
    let stored = world.runtime.block_on(async {
        let store = weir_control::Store::open(&world.place.store).await?;
        states::get(&store, DEFAULT_TENANT, &connection().name, STREAM).await
    });
    let stored = stored
        .map_err(|error| format!("{error:?}"))?
        .ok_or("no state is stored")?;
    // The release at the end takes a number that the store hears of with the next sync.
    ensure(Some(stored.sequence) <= record["sequence"].as_u64(), || {
        format!(
            "the store is at checkpoint {}, the lake at {record}",
            stored.sequence
        )
    })
}

/// The same rows, whatever their order.
fn same(rows: &[Row], rebuilt: &[Row]) -> Fault {
    let lines = |rows: &[Row]| {
        let mut lines: Vec<String> = rows
            .iter()
            .map(|row| format!("{:?} {}", COLUMNS.map(|column| row.get(column)), deleted(row)))
            .collect();
        lines.sort();
        lines
    };
    let (one, two) = (lines(rows), lines(rebuilt));
    let lost: Vec<_> = one.iter().filter(|line| !two.contains(line)).collect();
    let new: Vec<_> = two.iter().filter(|line| !one.contains(line)).collect();
    ensure(one == two, || {
        format!("rebuilt from Bronze it is another table: without {lost:?}, with {new:?}")
    })
}
