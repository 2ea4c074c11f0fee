//! [`crate::Destination`] and [`crate::StreamWriter`].

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{holds, same};
use crate::source::StreamDescriptor;
use crate::state::WHOLE;
use crate::{
    Batch, Books, Destination, ReadMode, Record, Result, SliceState, StateChange, StreamState, StreamWriter,
    SyncMode, WriteMode, WritePlan,
};

/// A destination that holds nothing yet, and what readers see of it.
#[async_trait]
pub trait Place: Send + Sync {
    fn destination(&self) -> &dyn Destination;

    /// `id` and `text` of the rows of stream `items` that readers see, and whether the row's key
    /// vanished at the source. Empty where there is no table yet.
    async fn rows(&self) -> Result<Vec<(u64, String, bool)>>;
}

type Seen = Vec<(u64, String, bool)>;

/// An item: id, time of change, text.
type Item = (u64, u64, &'static str);

/// Runs the suite. Each property begins with a `fresh` place.
pub async fn destination<F>(fresh: F, modes: &[SyncMode]) -> Result<()>
where
    F: Fn() -> Box<dyn Place> + Sync,
{
    for mode in modes {
        let named = |error: crate::Error| error.with("mode", mode);
        uncommitted_writes_vanish(&*fresh(), *mode).await.map_err(named)?;
        a_receipt_is_what_an_open_finds(&*fresh(), *mode)
            .await
            .map_err(named)?;
        a_run_goes_on_where_it_was_committed(&*fresh(), *mode)
            .await
            .map_err(named)?;
        of_two_writers_one_lands(&*fresh(), *mode).await.map_err(named)?;
        reading_again_changes_nothing(&*fresh(), *mode)
            .await
            .map_err(named)?;
        a_refresh_is_what_was_read(&*fresh(), *mode)
            .await
            .map_err(named)?;
    }
    Ok(())
}

async fn uncommitted_writes_vanish(place: &dyn Place, mode: SyncMode) -> Result<()> {
    let mut writer = open(place, mode, "r1").await?;
    holds(
        "a new stream has no checkpoint",
        writer.committed().is_none(),
        &writer.committed(),
    )?;
    writer.write(batch(&[(1, 1, "a")])).await?;
    drop(writer);
    let writer = open(place, mode, "r1").await?;
    holds(
        "accepted is not durable",
        writer.committed().is_none(),
        &writer.committed(),
    )?;
    same(
        "rows come with their checkpoint alone",
        &seen(place).await?,
        &Vec::new(),
    )?;
    // And after a checkpoint the next writes are lost alone.
    drop(writer);
    let mut writer = open(place, mode, "r1").await?;
    writer.write(batch(&[(1, 1, "a")])).await?;
    let receipt = writer.checkpoint(&partly(1)).await?;
    writer.write(batch(&[(2, 2, "b")])).await?;
    drop(writer);
    let mut writer = open(place, mode, "r1").await?;
    let found = writer
        .committed()
        .map(|found| (found.sequence, found.state.clone()));
    same(
        "an open finds the last checkpoint",
        &found,
        &Some((receipt.sequence, partly(1))),
    )?;
    writer.write(batch(&[(2, 2, "b")])).await?;
    let receipt = writer.finish(&complete(2)).await?.published()?;
    same("nothing lost, nothing doubled", &keys(place).await?, &vec![1, 2])?;
    same("books go on over a death", &receipt.books.read, &2)
}

async fn a_receipt_is_what_an_open_finds(place: &dyn Place, mode: SyncMode) -> Result<()> {
    let mut writer = open(place, mode, "r1").await?;
    let mut sequence = 0;
    for (page, item) in [(1, "a"), (2, "b"), (3, "c")] {
        let mut page_of = batch(&[(page, page, item)]);
        page_of.filtered = 2;
        page_of.deduplicated = 1;
        writer.write(page_of).await?;
        let receipt = writer.checkpoint(&partly(page)).await?;
        same("checkpoints are counted on", &receipt.sequence, &(sequence + 1))?;
        sequence = receipt.sequence;
        balanced(receipt.books, 4 * page)?;
        let own = writer.committed().cloned();
        let opened = open(place, mode, "r1").await?;
        same(
            "a writer knows what an open finds",
            &opened.committed().cloned(),
            &own,
        )?;
        let found = opened.committed().map(|found| {
            (
                found.sequence,
                found.run.clone(),
                found.state.clone(),
                found.books,
            )
        });
        let wanted = Some((receipt.sequence, "r1".to_owned(), partly(page), receipt.books));
        same("a receipt is what an open finds", &found, &wanted)?;
        drop(opened);
    }
    Ok(())
}

async fn a_run_goes_on_where_it_was_committed(place: &dyn Place, mode: SyncMode) -> Result<()> {
    let mut writer = open(place, mode, "r1").await?;
    writer.write(batch(&[(1, 1, "a"), (2, 2, "b")])).await?;
    writer.checkpoint(&partly(2)).await?;
    if mode == SyncMode::FullRefreshReplace {
        same(
            "a replaced table shows nothing of an unfinished refresh",
            &seen(place).await?,
            &Vec::new(),
        )?;
    }
    drop(writer);
    let mut writer = open(place, mode, "r1").await?;
    writer.write(batch(&[(3, 3, "c")])).await?;
    let receipt = writer.finish(&complete(3)).await?.published()?;
    balanced(receipt.books, 3)?;
    same(
        "every row is there once",
        &seen(place).await?,
        &rows(&[(1, "a"), (2, "b"), (3, "c")]),
    )?;
    let mut writer = open(place, mode, "r2").await?;
    let found = writer.committed().map(|found| found.state.clone());
    same("the end of a read is its state", &found, &Some(complete(3)))?;
    writer.write(batch(&[(4, 4, "d")])).await?;
    let receipt = writer.checkpoint(&partly(4)).await?;
    balanced(receipt.books, 1)
}

/// Both began at the same checkpoint: the second may not land on top of the first. A refresh that is not
/// published before its end may be kept apart until then: its end is refused at the latest.
async fn of_two_writers_one_lands(place: &dyn Place, mode: SyncMode) -> Result<()> {
    let mut one = open(place, mode, "r1").await?;
    let mut two = open(place, mode, "r2").await?;
    one.write(batch(&[(1, 1, "a")])).await?;
    two.write(batch(&[(2, 2, "b")])).await?;
    one.checkpoint(&partly(1)).await?;
    let mut refused = two.checkpoint(&partly(2)).await;
    if mode.read() == ReadMode::FullRefresh && refused.is_ok() {
        one.finish(&complete(1)).await?.published()?;
        refused = match two.finish(&complete(2)).await {
            Ok(finished) => finished.published(),
            Err(error) => Err(error),
        };
        same(
            "the first refresh stands",
            &seen(place).await?,
            &rows(&[(1, "a")]),
        )?;
    }
    let kind = refused.as_ref().err().map(crate::Error::kind);
    same(
        "a checkpoint happens once",
        &kind,
        &Some(crate::ErrorKind::Conflict),
    )?;
    let has_hint = refused.err().is_some_and(|error| error.next_step().is_some());
    holds("a refusal says what to do", has_hint, &has_hint)
}

async fn reading_again_changes_nothing(place: &dyn Place, mode: SyncMode) -> Result<()> {
    if mode.write() == WriteMode::Append {
        return Ok(());
    }
    let items = [(1, 1, "a"), (2, 2, "b")];
    read(place, mode, "r1", &items).await?;
    let before = seen(place).await?;
    let mut twice = items.to_vec();
    if mode.write() != WriteMode::Replace {
        twice.extend(items);
    }
    let books = read(place, mode, "r2", &twice).await?;
    balanced(books, twice.len() as u64)?;
    same("reading again changes nothing", &seen(place).await?, &before)
}

async fn a_refresh_is_what_was_read(place: &dyn Place, mode: SyncMode) -> Result<()> {
    read(place, mode, "r1", &[(1, 1, "a"), (2, 2, "b")]).await?;
    read(place, mode, "r2", &[(2, 5, "B"), (3, 6, "c")]).await?;
    let wanted = match (mode.read(), mode.write()) {
        (ReadMode::FullRefresh, WriteMode::Replace) => rows(&[(2, "B"), (3, "c")]),
        (ReadMode::FullRefresh, WriteMode::Merge) => {
            vec![
                (1, "a".to_owned(), true),
                (2, "B".to_owned(), false),
                (3, "c".to_owned(), false),
            ]
        }
        (ReadMode::Incremental, WriteMode::Merge) => rows(&[(1, "a"), (2, "B"), (3, "c")]),
        (_, WriteMode::Append) => rows(&[(1, "a"), (2, "B"), (2, "b"), (3, "c")]),
        // What a history looks like is each destination's own.
        (_, WriteMode::History) => return Ok(()),
        (ReadMode::Incremental, WriteMode::Replace) => return Ok(()),
    };
    same(
        "a mode makes of two reads what it says",
        &seen(place).await?,
        &wanted,
    )
}

async fn read(place: &dyn Place, mode: SyncMode, run: &str, items: &[Item]) -> Result<Books> {
    let mut writer = open(place, mode, run).await?;
    for (page, item) in (1..).zip(items) {
        writer.write(batch(&[*item])).await?;
        writer.checkpoint(&partly(page)).await?;
    }
    let receipt = writer.finish(&complete(items.len() as u64)).await?.published()?;
    Ok(receipt.books)
}

fn balanced(books: Books, read: u64) -> Result<()> {
    holds("books balance", books.balance(), &books)?;
    same("books count what was read", &books.read, &read)
}

async fn seen(place: &dyn Place) -> Result<Seen> {
    let mut rows = place.rows().await?;
    rows.sort();
    Ok(rows)
}

async fn keys(place: &dyn Place) -> Result<Vec<u64>> {
    Ok(seen(place).await?.into_iter().map(|(id, _, _)| id).collect())
}

fn rows(rows: &[(u64, &str)]) -> Seen {
    let row = |(id, text): &(u64, &str)| (*id, (*text).to_owned(), false);
    rows.iter().map(row).collect()
}

async fn open(place: &dyn Place, mode: SyncMode, run: &str) -> Result<Box<dyn StreamWriter>> {
    let plan = WritePlan {
        run: run.to_owned(),
        connection: "shop".to_owned(),
        source: "acme".to_owned(),
        stream: StreamDescriptor {
            name: "items".to_owned(),
            entity: "items".to_owned(),
            primary_key: vec!["id".to_owned()],
            cursor_field: Some("updated".to_owned()),
            ..StreamDescriptor::default()
        },
        mode,
        restart: false,
        known_sequence: 0,
        memory_bytes: 64 << 20,
        started_at: Timestamp::UNIX_EPOCH,
    };
    place.destination().open(plan).await
}

fn batch(items: &[Item]) -> Batch {
    let mut body = Vec::new();
    let mut records = Vec::new();
    for (id, updated, text) in items {
        let cursor = updated.to_string();
        let text = format!(r#"{{"updated":{cursor},"id":{id},"text":{}}}"#, json!(text));
        let at = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        records.push(Record {
            start: at(body.len()),
            len: at(text.len()),
            cursor_start: at(body.len() + r#"{"updated":"#.len()),
            cursor_len: at(cursor.len()),
        });
        body.extend_from_slice(text.as_bytes());
    }
    Batch {
        slice: Arc::from(WHOLE),
        body: Bytes::from(body),
        records,
        filtered: 0,
        deduplicated: 0,
        emitted_at: Timestamp::UNIX_EPOCH,
    }
}

/// The state after a page of a read that goes on.
fn partly(page: u64) -> StreamState {
    let mut state = StreamState::default();
    let slice = SliceState {
        page: Some(Value::from(page)),
        ..SliceState::default()
    };
    state.apply(StateChange::Slice {
        key: Arc::from(WHOLE),
        state: slice,
    });
    state
}

/// The state after the end of a read.
fn complete(mark: u64) -> StreamState {
    StreamState {
        floor: Some(Value::from(mark)),
        complete: true,
        ..StreamState::default()
    }
}
