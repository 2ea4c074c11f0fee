use weir_protocol::destination::{Committed, SchemaChange, SchemaChangeKind};
use weir_protocol::{Books, SliceState, StateChange, StreamState};

use super::*;
use crate::DEFAULT_TENANT;
use crate::store::testing;

struct World {
    _folder: tempfile::TempDir,
    store: Store,
    github: Connection,
}

async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    World {
        _folder: folder,
        store,
        github: Connection::new("github", "github", "gh"),
    }
}

const MODE: SyncMode = SyncMode::IncrementalMerge;

fn streams(names: &[&str]) -> Vec<(String, SyncMode)> {
    names.iter().map(|name| ((*name).to_owned(), MODE)).collect()
}

impl World {
    async fn start(&self, names: &[&str], owner: &Owner) -> Result<(String, Vec<Lease>)> {
        start_sync(
            &self.store,
            &self.github,
            &streams(names),
            &Begin::Anew(Trigger::Person),
            owner,
        )
        .await
    }

    async fn status(&self, run: &str) -> RunStatus {
        get(&self.store, DEFAULT_TENANT, run).await.unwrap().status
    }

    async fn checkpoint(&self, lease: &Lease, sequence: u64, read: u64) -> Result<()> {
        let (receipt, state) = (receipt(sequence, read), state(read));
        let checkpoint = Checkpoint {
            receipt,
            state,
            mode: MODE,
            progress: Progress {
                pages: sequence,
                ..Progress::default()
            },
        };
        store_checkpoint(&self.store, lease, &checkpoint).await
    }
}

fn books(read: u64) -> Books {
    Books {
        read,
        landed: read,
        ..Books::default()
    }
}

fn state(cursor: u64) -> StreamState {
    let mut state = StreamState::default();
    state.apply(StateChange::Slice {
        key: "".into(),
        state: SliceState {
            cursor: Some(cursor.into()),
            ..SliceState::default()
        },
    });
    state
}

fn receipt(sequence: u64, read: u64) -> Receipt {
    Receipt {
        sequence,
        table: "gh_issues".to_owned(),
        version: 7,
        books: books(read),
        bronze_bytes: 10,
        silver_bytes: 20,
        schema_changes: vec![SchemaChange {
            column: "title".to_owned(),
            kind: SchemaChangeKind::Added,
            from: None,
            to: Some("string".to_owned()),
        }],
        quarantine_reasons: vec![("no key".to_owned(), 3)],
        child_rows: std::collections::BTreeMap::new(),
    }
}

fn dead() -> Owner {
    Owner {
        process_start: "1".to_owned(),
        ..Owner::this_process()
    }
}

#[tokio::test]
async fn a_checkpoint_stores_receipt_state_and_books_together() {
    let world = world().await;
    let (run, leases) = world.start(&["issues"], &Owner::this_process()).await.unwrap();
    let lease = &leases[0];
    stream_step(&world.store, lease, MODE, "gh", RunStatus::Running, None)
        .await
        .unwrap();
    world.checkpoint(lease, 1, 10).await.unwrap();
    world.checkpoint(lease, 2, 25).await.unwrap();
    stream_step(&world.store, lease, MODE, "gh", RunStatus::Succeeded, None)
        .await
        .unwrap();
    finish(&world.store, DEFAULT_TENANT, &run, RunStatus::Succeeded, None)
        .await
        .unwrap();

    // The start of its id is enough.
    let found = get(&world.store, DEFAULT_TENANT, run.get(..30).unwrap())
        .await
        .unwrap();
    assert_eq!(found.status, RunStatus::Succeeded);
    let stream = &found.streams[0];
    assert_eq!(stream.name, "sync_gh_issues_incremental_merge");
    assert_eq!(
        (stream.books, stream.checkpoints, stream.sequence),
        (books(25), 2, Some(2))
    );
    assert_eq!(stream.quarantine_reasons, [("no key".to_owned(), 3)]);
    assert_eq!(found.totals().books, books(25));
    let stored = states::get(&world.store, DEFAULT_TENANT, "github", "issues")
        .await
        .unwrap()
        .unwrap();
    assert_eq!((stored.sequence, stored.state), (2, state(25)));
    let kept = receipts(&world.store, DEFAULT_TENANT, &run).await.unwrap();
    assert_eq!(
        kept.iter().map(|receipt| receipt.sequence).collect::<Vec<_>>(),
        [1, 2]
    );
    // Reported by both receipts, kept once.
    let changes = schemas::history(&world.store, DEFAULT_TENANT, "github")
        .await
        .unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(
        (changes[0].column.as_str(), changes[0].to.as_str()),
        ("title", "string")
    );
}

#[tokio::test]
async fn a_second_run_of_a_stream_is_told_who_has_it_and_leaves_no_trace() {
    let world = world().await;
    let me = Owner::this_process();
    let (run, _) = world.start(&["issues", "comments"], &me).await.unwrap();
    let error = world.start(&["commits", "comments"], &me).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let text = format!("{error:?}");
    for part in ["'comments'", &run, &me.pid.to_string(), &me.host, "since"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert_eq!(
        list(&world.store, DEFAULT_TENANT, &RunFilter::default())
            .await
            .unwrap()
            .len(),
        1
    );
    // Another stream is free.
    world.start(&["commits"], &me).await.unwrap();
}

#[tokio::test]
async fn a_dead_process_is_taken_over_at_once_with_all_its_streams() {
    let world = world().await;
    let (first, leases) = world.start(&["issues", "comments"], &dead()).await.unwrap();
    world.start(&["issues"], &Owner::this_process()).await.unwrap();
    assert_eq!(world.status(&first).await, RunStatus::Abandoned);
    for lease in &leases {
        let error = world.checkpoint(lease, 1, 10).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{}", lease.stream);
    }
    assert!(
        states::list(&world.store, DEFAULT_TENANT, "github")
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn an_expired_lease_is_taken_over_and_the_old_term_can_store_nothing() {
    let world = world().await;
    let me = Owner::this_process();
    let (first, old) = world.start(&["issues"], &me).await.unwrap();
    leases::expire_all(&world.store).await;
    let (second, new) = world.start(&["issues"], &me).await.unwrap();
    assert_eq!(world.status(&first).await, RunStatus::Abandoned);
    assert_eq!(
        world.checkpoint(&old[0], 1, 99).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    world.checkpoint(&new[0], 1, 10).await.unwrap();
    // An abandoned run cannot be ended by its old process, and its end frees nothing of the new one.
    finish(&world.store, DEFAULT_TENANT, &first, RunStatus::Succeeded, None)
        .await
        .unwrap_err();
    leases::renew(&world.store, &new[0]).await.unwrap();
    assert_eq!(world.status(&second).await, RunStatus::Running);
}

#[tokio::test]
async fn what_only_the_lake_knew_is_stored_with_the_run_that_did_it() {
    let world = world().await;
    let (first, leases) = world.start(&["issues"], &dead()).await.unwrap();
    world.checkpoint(&leases[0], 1, 10).await.unwrap();
    let (_, leases) = world.start(&["issues"], &Owner::this_process()).await.unwrap();
    let committed = Committed {
        sequence: 2,
        run: first.clone(),
        state: state(30),
        books: books(30),
    };
    for _ in 0..2 {
        store_recovered(&world.store, &leases[0], Some(&committed))
            .await
            .unwrap();
    }
    let run = get(&world.store, DEFAULT_TENANT, &first).await.unwrap();
    assert_eq!(
        (run.status, run.streams[0].books, run.streams[0].checkpoints),
        (RunStatus::Abandoned, books(30), 2)
    );
    let kept = receipts(&world.store, DEFAULT_TENANT, &first).await.unwrap();
    assert_eq!(
        kept.iter().map(|receipt| receipt.recovered).collect::<Vec<_>>(),
        [false, true]
    );
    let stored = states::get(&world.store, DEFAULT_TENANT, "github", "issues")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (stored.sequence, stored.state, stored.mode.as_deref()),
        (2, state(30), Some("incremental_merge"))
    );
}

#[tokio::test]
async fn sweeping_finds_only_the_dead() {
    let world = world().await;
    let (alive, _) = world.start(&["comments"], &Owner::this_process()).await.unwrap();
    let (gone, _) = world.start(&["issues"], &dead()).await.unwrap();
    assert_eq!(sweep(&world.store).await.unwrap(), 1);
    assert_eq!(world.status(&gone).await, RunStatus::Abandoned);
    assert_eq!(world.status(&alive).await, RunStatus::Running);
}

#[tokio::test]
async fn a_run_whose_streams_ended_is_not_left_running_nor_taken_for_dead() {
    let world = world().await;
    for (nth, to) in [RunStatus::Succeeded, RunStatus::Failed].into_iter().enumerate() {
        let (run, taken) = world.start(&["issues"], &dead()).await.unwrap();
        for step in [RunStatus::Running, to] {
            stream_step(&world.store, &taken[0], MODE, "gh", step, None)
                .await
                .unwrap();
        }
        leases::release(&world.store, &taken[0]).await.unwrap();
        // Its process dies here, or another one looks before it can say how the run ended.
        if nth == 0 {
            world.start(&["comments"], &Owner::this_process()).await.unwrap();
        } else {
            assert_eq!(sweep(&world.store).await.unwrap(), 0);
        }
        assert_eq!(world.status(&run).await, to);
        finish(&world.store, DEFAULT_TENANT, &run, to, None)
            .await
            .unwrap();
        assert_eq!(world.status(&run).await, to);
    }
}

#[tokio::test]
async fn notices_have_a_limit() {
    let world = world().await;
    let (run, leases) = world.start(&["issues"], &Owner::this_process()).await.unwrap();
    for n in 0..NOTICES_MAX + 5 {
        let notice = Notice {
            message: format!("n{n}"),
            hint: Some("do".to_owned()),
        };
        note(&world.store, &leases[0], &notice).await.unwrap();
    }
    let kept = notices(&world.store, DEFAULT_TENANT, &run).await.unwrap();
    assert_eq!(kept.len(), NOTICES_MAX as usize + 1);
    assert_eq!(
        kept.last().unwrap().message,
        "there were more notices; they stand in the log"
    );
}

#[tokio::test]
async fn lists_page_by_page() {
    let world = world().await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        ids.push(world.start(&[name], &Owner::this_process()).await.unwrap().0);
    }
    let first = RunFilter {
        limit: 2,
        ..RunFilter::default()
    };
    let page = list(&world.store, DEFAULT_TENANT, &first).await.unwrap();
    assert_eq!(
        page.iter().map(|run| &run.id).collect::<Vec<_>>(),
        [&ids[2], &ids[1]]
    );
    let rest = RunFilter {
        before: Some(page[1].id.clone()),
        ..RunFilter::default()
    };
    let page = list(&world.store, DEFAULT_TENANT, &rest).await.unwrap();
    assert_eq!(page.iter().map(|run| &run.id).collect::<Vec<_>>(), [&ids[0]]);
    let error = get(&world.store, DEFAULT_TENANT, "nope").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // All ids of this second begin alike.
    assert_eq!(
        get(&world.store, DEFAULT_TENANT, ids[0].get(..4).unwrap())
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::Usage
    );
}

#[tokio::test]
async fn how_far_runs_came_is_told_of_those_that_the_store_knows() {
    let world = world().await;
    let (run, leases) = world
        .start(&["issues", "users"], &Owner::this_process())
        .await
        .unwrap();
    world.checkpoint(&leases[0], 1, 10).await.unwrap();
    world.checkpoint(&leases[0], 2, 20).await.unwrap();
    let runs = [run.clone(), "another".to_owned()].into();
    let told = async |tenant, stream| reached(&world.store, tenant, stream, &runs).await.unwrap();
    assert_eq!(told(DEFAULT_TENANT, "issues").await, [(run.clone(), 2)].into());
    assert_eq!(told(DEFAULT_TENANT, "users").await, [(run, 0)].into());
    assert!(told(DEFAULT_TENANT, "labels").await.is_empty());
    assert!(told("somebody", "issues").await.is_empty());
}
