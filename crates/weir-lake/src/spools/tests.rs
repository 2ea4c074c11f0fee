use std::sync::Arc;

use futures::StreamExt;
use jiff::Timestamp;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use weir_protocol::source::{Notice, Progress};
use weir_protocol::{Batch, ErrorKind, Record, Secret, SliceState, StateChange};

use super::*;

fn lake() -> Lake {
    Lake::over(Arc::new(InMemory::new()), Secret::new("k")).unwrap()
}

fn place(attempt: i64) -> SpoolPlace {
    SpoolPlace {
        connection: "shop".to_owned(),
        stream: "or/ders".to_owned(),
        run: "r1".to_owned(),
        term: 3,
        slice: "s1".to_owned(),
        attempt,
    }
}

fn batch(body: &[u8]) -> ReadEvent {
    ReadEvent::Batch(Batch {
        slice: "{\"a\":1}".into(),
        body: Bytes::copy_from_slice(body),
        records: vec![Record {
            start: 1,
            len: 7,
            cursor_start: 6,
            cursor_len: 1,
        }],
        filtered: 2,
        deduplicated: 3,
        emitted_at: Timestamp::UNIX_EPOCH,
    })
}

fn events() -> Vec<ReadEvent> {
    vec![
        batch(b"[{\"a\":1}\n]"),
        ReadEvent::Advance(StateChange::Slice {
            key: "{\"a\":1}".into(),
            state: SliceState {
                cursor: Some(7.into()),
                done: true,
                ..SliceState::default()
            },
        }),
        ReadEvent::Progress(Progress {
            pages: 1,
            ..Progress::default()
        }),
        ReadEvent::Notice(Notice {
            message: "m".to_owned(),
            hint: None,
        }),
    ]
}

async fn write(lake: &Lake, place: &SpoolPlace, events: Vec<ReadEvent>) -> Result<()> {
    Spools::write(lake, place, stream::iter(events.into_iter().map(Ok)).boxed()).await
}

async fn read(lake: &Lake, place: &SpoolPlace) -> Result<Vec<ReadEvent>> {
    Spools::read(lake, place).try_collect().await
}

/// All that was written is there, or nothing.
async fn is_there(lake: &Lake, place: &SpoolPlace) -> bool {
    match read(lake, place).await {
        Ok(found) => {
            assert_eq!(format!("{found:?}"), format!("{:?}", events()));
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Destination, "{error:?}");
            false
        }
    }
}

#[tokio::test]
async fn what_is_read_again_is_what_was_written() {
    let lake = lake();
    // Several parts.
    let mut written = events();
    let large = vec![b' '; PART_BYTES + 9];
    written.insert(1, batch(&large));
    written.extend(events());
    write(&lake, &place(1), written.clone()).await.unwrap();
    let found = read(&lake, &place(1)).await.unwrap();
    assert_eq!(format!("{found:?}"), format!("{written:?}"));
    write(&lake, &place(2), Vec::new()).await.unwrap();
    assert!(read(&lake, &place(2)).await.unwrap().is_empty());
}

#[tokio::test]
async fn nothing_is_there_before_all_of_it_is() {
    let lake = lake();
    let broken = stream::iter(events().into_iter().map(Ok)).chain(stream::once(async {
        Err(Error::unavailable("the source is down").hint("wait"))
    }));
    let error = Spools::write(&lake, &place(1), broken.boxed()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        read(&lake, &place(1)).await.unwrap_err().kind(),
        ErrorKind::Destination
    );
}

#[tokio::test]
async fn damage_is_found() {
    let lake = lake();
    write(&lake, &place(1), events()).await.unwrap();
    let part = folder(&place(1)).join(part_name(0));
    let mut bytes = lake.storage.get(&part).await.unwrap().to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    lake.storage.put(&part, bytes.into()).await.unwrap();
    let error = read(&lake, &place(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Destination, "{error:?}");
    lake.storage.store().delete(&part).await.unwrap();
    assert!(read(&lake, &place(1)).await.is_err());
    // A record that would lie beyond its bytes.
    let mut frames = Vec::new();
    frames::add(&mut frames, &batch(b"{}")).unwrap();
    assert!(frames::events(&Bytes::from(frames)).is_err());
}

#[tokio::test]
async fn sweeping_a_stream_leaves_others() {
    let lake = lake();
    let other = SpoolPlace {
        stream: "or".to_owned(),
        ..place(1)
    };
    write(&lake, &place(1), events()).await.unwrap();
    write(&lake, &place(2), events()).await.unwrap();
    write(&lake, &other, events()).await.unwrap();
    lake.remove(&place(1)).await.unwrap();
    assert!(!is_there(&lake, &place(1)).await && is_there(&lake, &place(2)).await);
    lake.sweep("shop", "or/ders").await.unwrap();
    assert!(!is_there(&lake, &place(2)).await && is_there(&lake, &other).await);
    lake.sweep("shop", "none").await.unwrap();
}

#[tokio::test]
async fn old_spools_go_whoever_they_were_for_and_young_ones_stay() {
    let lake = lake();
    write(&lake, &place(1), events()).await.unwrap();
    let hour = jiff::SignedDuration::from_hours(1);
    assert_eq!(lake.sweep_spools(Timestamp::now() - hour).await.unwrap(), 0);
    assert!(is_there(&lake, &place(1)).await);
    assert_eq!(lake.sweep_spools(Timestamp::now() + hour).await.unwrap(), 2);
    assert!(!is_there(&lake, &place(1)).await);
}
