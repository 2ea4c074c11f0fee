//! What a rebuild must not lose, and what it must not bring back.

use serde_json::{Value, json};
use weir_lake::{AsOf, NextRead};
use weir_protocol::spec::Contract;
use weir_protocol::{ErrorKind, SyncMode, WritePlan};

use crate::children::{CHILD, exploding, order as lined};
use crate::harness::{TestLake, batch, complete, order, partly, plan};
use crate::release::{TABLE, bronze_bytes, fill, held, mended, table};

/// The plan of `sync --full` and of the runs around it.
fn keyed(mode: SyncMode, run: &str, keyed: bool) -> WritePlan {
    let mut plan = plan(mode, run);
    if !keyed {
        plan.stream.primary_key.clear();
    }
    plan
}

#[tokio::test]
async fn a_rebuild_right_after_a_replacement_keeps_it() {
    for has_key in [true, false] {
        let lake = TestLake::new();
        let append = keyed(SyncMode::IncrementalAppend, "r1", has_key);
        lake.sync(&append, &[&[order(1, "01-01", 1.0), order(2, "01-01", 2.0)]])
            .await;
        let full = keyed(SyncMode::FullRefreshReplace, "r2", has_key);
        lake.sync(&full, &[&[order(2, "01-02", 2.5)], &[order(3, "01-02", 3.0)]])
            .await;
        let columns = ["id", "total", "_run"];
        let wanted = lake.rows(TABLE, &columns).await;
        assert_eq!(wanted.len(), 2, "{wanted:?}");
        for _ in 0..2 {
            lake.lake.rebuild(&append, false).await.unwrap();
            assert_eq!(lake.rows(TABLE, &columns).await, wanted, "keyed {has_key}");
        }
        let next = keyed(SyncMode::IncrementalAppend, "r3", has_key);
        lake.sync(&next, &[&[order(4, "01-03", 4.0)]]).await;
        let wanted = lake.rows(TABLE, &columns).await;
        lake.lake.rebuild(&append, false).await.unwrap();
        assert_eq!(lake.rows(TABLE, &columns).await, wanted, "keyed {has_key}");
        assert_eq!(wanted.len(), 3);
    }
}

/// Deletes the Bronze objects of one checkpoint.
fn lose_bronze(lake: &TestLake, sequence: u64) {
    fn walk(dir: &std::path::Path, prefix: &str) -> usize {
        let mut gone = 0;
        for entry in dir.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                gone += walk(&path, prefix);
            } else if path.file_name().unwrap().to_str().unwrap().starts_with(prefix) {
                std::fs::remove_file(path).unwrap();
                gone += 1;
            }
        }
        gone
    }
    let prefix = format!("{sequence:010}");
    assert!(
        walk(&lake.dir.path().join("bronze"), &prefix) > 0,
        "no object {prefix}"
    );
}

#[tokio::test]
async fn a_lost_object_is_noticed_although_as_many_rows_would_be_left() {
    use SyncMode as M;
    // The lost checkpoint brought newer versions of keys that an older one brought too.
    let pages: [&[Value]; 3] = [
        &[order(1, "01-01", 1.0), order(2, "01-01", 2.0)],
        &[order(1, "01-02", 1.5)],
        &[order(2, "01-03", 2.5), order(3, "01-03", 3.0)],
    ];
    for mode in [M::IncrementalMerge, M::IncrementalHistory, M::IncrementalAppend] {
        let lake = TestLake::new();
        lake.sync(&plan(mode, "r1"), &pages).await;
        let before = table(&lake, mode).await;
        lose_bronze(&lake, 2);
        let error = lake.lake.rebuild(&plan(mode, "x"), false).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Gate, "{mode}");
        let said = format!("{error:?}");
        assert!(said.contains("1 of the 5 records"), "{mode} {said}");
        assert_eq!(table(&lake, mode).await, before, "{mode}");
        lake.lake.rebuild(&plan(mode, "x"), true).await.unwrap();
        // What was accepted as lost is not told again.
        lake.lake.rebuild(&plan(mode, "x"), false).await.unwrap();
    }
    // Where newer versions took the place of all that the lost one brought, nothing is lost.
    let lake = TestLake::new();
    lake.sync(&plan(M::IncrementalMerge, "r1"), &pages).await;
    lake.sync(&plan(M::IncrementalMerge, "r2"), &[&[order(1, "01-05", 9.0)]])
        .await;
    let before = table(&lake, M::IncrementalMerge).await;
    lose_bronze(&lake, 2);
    lake.lake
        .rebuild(&plan(M::IncrementalMerge, "x"), false)
        .await
        .unwrap();
    assert_eq!(table(&lake, M::IncrementalMerge).await, before);
}

#[tokio::test]
async fn landed_records_go_to_quarantine_only_if_that_is_accepted() {
    let lake = TestLake::new();
    let mode = SyncMode::IncrementalMerge;
    let wide = mended(mode, "r1", true);
    let mut noted = order(2, "01-01", 2.0);
    noted["note"] = json!("x");
    let runs = [vec![vec![order(1, "01-01", 1.0), noted]]];
    fill(&lake, [&wide, &wide], &runs).await;
    let before = table(&lake, mode).await;
    let mut narrow = mended(mode, "r2", true);
    narrow.stream.schema.as_mut().unwrap()["properties"]["note"] = json!({ "type": "integer" });
    for _ in 0..2 {
        let error = lake.lake.rebuild(&narrow, false).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Gate);
        let said = format!("{error:?}");
        assert!(
            said.contains("1 records that landed in table 'acme_orders'") && said.contains("note"),
            "{said}"
        );
        assert!(error.next_step().unwrap().contains("--accept-loss"));
        assert_eq!(held(&lake).await, 0);
        assert_eq!(table(&lake, mode).await, before);
    }
    let done = lake.lake.rebuild(&narrow, true).await.unwrap();
    assert_eq!((done.rows, done.rejected), (1, 1));
    assert_eq!(held(&lake).await, 1);
    // It is held now, so nothing more is lost.
    let done = lake.lake.rebuild(&narrow, false).await.unwrap();
    assert_eq!((done.rows, done.rejected), (1, 1));
}

#[tokio::test]
async fn columns_that_no_line_has_any_more_stay() {
    for (first, second) in [
        (SyncMode::FullRefreshReplace, SyncMode::FullRefreshReplace),
        (SyncMode::IncrementalAppend, SyncMode::FullRefreshReplace),
    ] {
        let lake = TestLake::new();
        let open = |mode, run: &str| {
            let mut plan = plan(mode, run);
            plan.stream.policy.contract = Contract::Evolve;
            plan
        };
        let mut old = order(1, "01-01", 1.0);
        old["note"] = json!("x");
        old["place"] = json!({ "city": "Amman", "zip": "1" });
        lake.sync(&open(first, "r1"), &[&[old]]).await;
        let mut new = order(2, "01-02", 2.0);
        new["place"] = json!({ "city": "Irbid" });
        new["late"] = json!(true);
        lake.sync(&open(second, "r2"), &[&[new]]).await;
        // The refresh itself must not have taken them from the table for this test to say anything.
        let names = async || {
            let schema = lake.lake.snapshot(TABLE, None).await.unwrap().schema;
            let mut names: Vec<String> = schema
                .fields()
                .iter()
                .map(|field| format!("{} {}", field.name(), field.data_type()))
                .collect();
            names.sort();
            names
        };
        let before = names().await;
        for _ in 0..2 {
            lake.lake.rebuild(&open(first, "x"), false).await.unwrap();
            assert_eq!(names().await, before, "{first} {second}");
            let rows = lake.rows(TABLE, &["id", "note", "place", "late"]).await;
            assert_eq!(
                rows,
                [r#"{"id":2,"place":{"city":"Irbid"},"late":true}"#],
                "{first} {second}"
            );
        }
    }
}

#[tokio::test]
async fn a_restore_into_the_middle_of_a_run_reads_that_run_again() {
    let lake = TestLake::new();
    let mode = SyncMode::IncrementalMerge;
    let pages: [&[Value]; 2] = [&[order(1, "01-01", 1.0)], &[order(2, "01-02", 2.0)]];
    lake.sync(&plan(mode, "r1"), &pages).await;
    let end = lake.lake.snapshot(TABLE, None).await.unwrap().version;
    let before = lake.lake.state(TABLE, "shop", "orders").await.unwrap().unwrap();
    // One page of a run that knows up to where its slice is whole, and what leads to the next page.
    let mut writer = lake.open(&plan(mode, "r2")).await;
    writer.write(batch(&[order(3, "01-03", 3.0)])).await.unwrap();
    let mut middle = partly(0);
    let slice = middle.slices.values_mut().next().unwrap();
    slice.cursor = Some(json!("2026-01-02T00:00:00Z"));
    slice.pending = Some(json!("2026-01-03T00:00:00Z"));
    slice.etag = Some("x".to_owned());
    slice.done = true;
    writer.checkpoint(&middle).await.unwrap();
    writer.write(batch(&[order(4, "01-04", 4.0)])).await.unwrap();
    writer.finish(&complete(9)).await.unwrap().published().unwrap();

    let restored = lake
        .lake
        .restore(TABLE, AsOf::Version(end + 1), "back")
        .await
        .unwrap();
    assert_eq!(restored.next, NextRead::Again);
    assert_eq!(lake.rows(TABLE, &["id"]).await.len(), 3);
    let state = lake
        .lake
        .state(TABLE, "shop", "orders")
        .await
        .unwrap()
        .unwrap()
        .state;
    insta::assert_snapshot!(serde_json::to_string(&state).unwrap(), @r#"{"slices":{"":{"cursor":"2026-01-02T00:00:00Z"}},"complete":true}"#);

    let restored = lake
        .lake
        .restore(TABLE, AsOf::Version(end), "back")
        .await
        .unwrap();
    assert_eq!(restored.next, NextRead::Since);
    let state = lake
        .lake
        .state(TABLE, "shop", "orders")
        .await
        .unwrap()
        .unwrap()
        .state;
    assert_eq!(state, before.state);
    let restored = lake.lake.restore(TABLE, AsOf::Version(0), "back").await.unwrap();
    assert_eq!(restored.next, NextRead::Everything);
    assert!(lake.rows(TABLE, &["id"]).await.is_empty());
}

#[tokio::test]
async fn rows_without_a_key_are_not_restored_into_the_middle_of_a_run() {
    let lake = TestLake::new();
    let append = |run: &str| keyed(SyncMode::IncrementalAppend, run, false);
    lake.sync(&append("r1"), &[&[order(1, "01-01", 1.0)]]).await;
    let end = lake.lake.snapshot(TABLE, None).await.unwrap().version;
    lake.sync(
        &append("r2"),
        &[&[order(2, "01-02", 2.0)], &[order(3, "01-03", 3.0)]],
    )
    .await;
    let before = lake.rows(TABLE, &["id"]).await;
    let error = lake
        .lake
        .restore(TABLE, AsOf::Version(end + 1), "back")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    let next = error.next_step().unwrap();
    assert!(next.contains(&format!("restore version {end},")), "{next}");
    assert_eq!(lake.rows(TABLE, &["id"]).await, before);
    lake.lake
        .restore(TABLE, AsOf::Version(end), "back")
        .await
        .unwrap();
    assert_eq!(lake.rows(TABLE, &["id"]).await, [r#"{"id":1}"#]);
}

#[tokio::test]
async fn a_rebuild_does_not_bring_back_what_a_restore_took_away() {
    for mode in SyncMode::ALL {
        for has_key in [true, false] {
            if !has_key && mode.needs_primary_key() {
                continue;
            }
            let lake = TestLake::new();
            lake.sync(&keyed(mode, "r1", has_key), &[&[order(1, "01-01", 1.0)]])
                .await;
            let end = lake.lake.snapshot(TABLE, None).await.unwrap().version;
            let second = [order(1, "01-02", 1.5), order(2, "01-02", 2.0)];
            lake.sync(&keyed(mode, "r2", has_key), &[&second]).await;
            lake.lake
                .restore(TABLE, AsOf::Version(end), "back")
                .await
                .unwrap();
            let restored = lake.rows(TABLE, &["id", "total", "_run"]).await;
            assert_eq!(restored.len(), 1, "{mode}");
            lake.lake
                .rebuild(&keyed(mode, "x", has_key), false)
                .await
                .unwrap();
            assert_eq!(
                lake.rows(TABLE, &["id", "total", "_run"]).await,
                restored,
                "{mode} {has_key}"
            );
            lake.sync(&keyed(mode, "r3", has_key), &[&second]).await;
            let wanted = lake.rows(TABLE, &["id", "total", "_run"]).await;
            lake.lake
                .rebuild(&keyed(mode, "x", has_key), false)
                .await
                .unwrap();
            assert_eq!(
                lake.rows(TABLE, &["id", "total", "_run"]).await,
                wanted,
                "{mode} {has_key}"
            );
        }
    }
}

#[tokio::test]
async fn a_child_table_that_is_gone_is_noticed_and_filled_anew_by_a_rebuild() {
    for mode in SyncMode::ALL {
        let lake = TestLake::new();
        let orders = [lined(1, "01-01", &["a", "b"]), lined(2, "01-01", &["c"])];
        lake.sync(&exploding(mode, "r1"), &[&orders]).await;
        let columns = ["_parent_id", "_index", "sku"];
        let before = lake.rows(CHILD, &columns).await;
        assert_eq!(before.len(), 3);
        let version = lake.lake.snapshot(TABLE, None).await.unwrap().version;
        std::fs::remove_dir_all(lake.dir.path().join("silver").join(CHILD)).unwrap();
        let next = exploding(mode, "r2");
        if mode == SyncMode::FullRefreshReplace {
            // It is filled wholly anyway.
            lake.sync(&next, &[&orders]).await;
            assert_eq!(lake.rows(CHILD, &columns).await, before, "{mode}");
            continue;
        }
        let error = lake.lake_open_error(&next).await;
        assert!(format!("{error:?}").contains(CHILD), "{error:?}");
        assert!(
            error
                .next_step()
                .unwrap()
                .contains("weir lake rebuild shop orders"),
            "{mode}"
        );
        let restore = lake.lake.restore(TABLE, AsOf::Version(version), "back").await;
        assert!(
            restore
                .unwrap_err()
                .next_step()
                .unwrap()
                .contains("weir lake rebuild shop orders")
        );
        lake.lake.rebuild(&next, false).await.unwrap();
        assert_eq!(lake.rows(CHILD, &columns).await, before, "{mode}");
        lake.sync(
            &next,
            &[&[lined(2, "01-02", &["d"]), lined(1, "01-01", &["a", "b"])]],
        )
        .await;
        assert!(lake.rows(CHILD, &columns).await.len() >= 3, "{mode}");
    }
}

#[tokio::test]
async fn a_table_that_is_gone_is_made_anew_from_bronze_alone() {
    for mode in SyncMode::ALL {
        for has_key in [true, false] {
            if !has_key && mode.needs_primary_key() {
                continue;
            }
            let lake = TestLake::new();
            let of = |run: &str| {
                let mut plan = exploding(mode, run);
                if !has_key {
                    plan.stream.primary_key.clear();
                    plan.stream.policy.explode.clear();
                }
                plan
            };
            let first = [lined(1, "01-01", &["a", "b"]), lined(2, "01-01", &["c"])];
            let second = [lined(1, "01-02", &["d"]), lined(2, "01-01", &["c"])];
            lake.sync(&of("r1"), &[&first]).await;
            lake.sync(&of("r2"), &[&second[..1], &second[1..]]).await;
            let columns = if mode == SyncMode::FullRefreshReplace && has_key {
                // A row that the newest refresh did not change has its first run.
                vec!["id", "_cursor"]
            } else {
                vec!["id", "_cursor", "_run", "_emitted_at"]
            };
            let before = lake.rows(TABLE, &columns).await;
            let children = if has_key {
                lake.rows(CHILD, &["_parent_id", "sku"]).await
            } else {
                Vec::new()
            };
            for name in [TABLE, CHILD] {
                let folder = lake.dir.path().join("silver").join(name);
                if name == TABLE || mode == SyncMode::IncrementalMerge {
                    std::fs::remove_dir_all(folder).unwrap_or_default();
                }
            }
            let done = lake.lake.rebuild(&of("x"), false).await.unwrap();
            assert!(done.is_new, "{mode}");
            assert_eq!(lake.rows(TABLE, &columns).await, before, "{mode} {has_key}");
            if has_key {
                assert_eq!(lake.rows(CHILD, &["_parent_id", "sku"]).await, children, "{mode}");
            }
            let found = lake.lake.state(TABLE, "shop", "orders").await.unwrap().unwrap();
            assert_eq!(found.state, weir_protocol::StreamState::default(), "{mode}");
            assert!(found.sequence > 3, "{mode}");
            // Another rebuild finds the table, and a sync goes on with numbers of its own.
            assert!(!lake.lake.rebuild(&of("x"), false).await.unwrap().is_new);
            assert_eq!(lake.rows(TABLE, &columns).await, before, "{mode} {has_key}");
            lake.sync(&of("r3"), &[&[lined(3, "01-03", &["e"])]]).await;
            let ids = lake.rows(TABLE, &["id"]).await;
            assert!(ids.contains(&r#"{"id":3}"#.to_owned()), "{mode} {ids:?}");
        }
    }
    let lake = TestLake::new();
    let error = lake
        .lake
        .rebuild(&plan(SyncMode::IncrementalMerge, "x"), false)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error
            .next_step()
            .unwrap()
            .contains("weir sync shop --stream orders")
    );
}

/// A run that fails before its first commit leaves the beginning of a read in Bronze: of a table that is
/// gone that is no part, if somebody knows how far the run came.
#[tokio::test]
async fn a_rebuild_leaves_out_what_was_never_committed() {
    let lake = TestLake::new();
    let of = |run: &str| plan(SyncMode::FullRefreshAppend, run);
    let page = [lined(1, "01-01", &["a"])];
    for run in ["r1", "r2", "r3", "r4"] {
        lake.sync(&of(run), &[&page]).await;
    }
    let newest = |run: &str| -> u64 { if run == "r1" { 1 } else { 0 } };
    let reached = |runs: &[&str]| runs.iter().map(|run| ((*run).to_owned(), newest(run))).collect();
    let rebuild = async |runs: &[&str]| lake.lake.rebuild_known(&of("x"), false, &reached(runs)).await;
    std::fs::remove_dir_all(lake.dir.path().join("silver")).unwrap();
    let runs = lake.lake.orphaned_runs(&of("x")).await.unwrap();
    assert_eq!(runs, ["r1", "r2", "r3", "r4"].map(str::to_owned).into());

    // The second and the last failed, of the third nothing is known.
    assert_eq!(rebuild(&["r1", "r2", "r4"]).await.unwrap().rows, 2);
    assert!(lake.lake.orphaned_runs(&of("x")).await.unwrap().is_empty());
    assert_eq!(bronze_bytes(&lake).len(), 4);
    lake.sync(&of("r5"), &[&page]).await;
    assert_eq!(
        (lake.rows(TABLE, &["id"]).await.len(), bronze_bytes(&lake).len()),
        (3, 5)
    );
    assert_eq!(lake.lake.rebuild(&of("x"), false).await.unwrap().rows, 3);

    // All of them failed: there is nothing to make a table of, and the way on is told.
    let lake = TestLake::new();
    lake.sync(&of("r2"), &[&page]).await;
    lake.sync(&of("r3"), &[&page]).await;
    std::fs::remove_dir_all(lake.dir.path().join("silver")).unwrap();
    let known = reached(&["r2", "r3"]);
    let error = lake
        .lake
        .rebuild_known(&of("x"), false, &known)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.next_step().unwrap().contains("set-aside"), "{error:?}");
    assert_eq!(
        lake.lake
            .set_aside(&WritePlan {
                known_sequence: 2,
                ..of("x")
            })
            .await
            .unwrap(),
        2
    );
    lake.sync(&of("r4"), &[&page]).await;
}

/// Two runs may have written under one number: that of the one which failed is removed.
#[tokio::test]
async fn a_rebuild_removes_what_stands_under_a_number_of_another_run() {
    let lake = TestLake::new();
    let of = |run: &str| plan(SyncMode::FullRefreshAppend, run);
    lake.sync(&of("r2"), &[&[lined(1, "01-01", &["a"])]]).await;
    let own = bronze_bytes(&lake);
    let (folder, name) = own[0].0.rsplit_once('/').unwrap();
    std::fs::copy(&own[0].0, format!("{folder}/{}", name.replace("r2", "r1"))).unwrap();
    assert_eq!(bronze_bytes(&lake).len(), 2);
    std::fs::remove_dir_all(lake.dir.path().join("silver")).unwrap();
    let reached = [("r1".to_owned(), 0), ("r2".to_owned(), 1)].into();
    let done = lake.lake.rebuild_known(&of("x"), false, &reached).await.unwrap();
    assert_eq!(done.rows, 1);
    assert_eq!(bronze_bytes(&lake), own);
}
