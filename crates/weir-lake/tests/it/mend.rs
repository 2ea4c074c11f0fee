//! A stream whose declaration changes: types, mode, key; and a full refresh of which nothing fits.

use serde_json::{Value, json};
use weir_lake::quarantine::Choice;
use weir_protocol::spec::Contract;
use weir_protocol::{ErrorKind, SyncMode, WritePlan};

use crate::children::{CHILD, exploding};
use crate::harness::{TestLake, batch, complete, order, partly, plan};
use crate::release::{TABLE, bronze_bytes, fill, held, mended, release, strict, table};

fn typed(kind: &str, contract: Contract, run: &str) -> WritePlan {
    let mut plan = plan(SyncMode::IncrementalMerge, run);
    plan.stream.policy.contract = contract;
    plan.stream.schema = Some(json!({ "type": "object", "properties": {
        "id": { "type": "integer" },
        "at": { "type": "string", "format": "date-time" },
        "total": { "type": kind },
    }}));
    plan
}

fn valued(id: i64, total: Value) -> Value {
    json!({ "id": id, "at": "2026-01-01T00:00:00Z", "total": total })
}

#[tokio::test]
async fn a_column_declared_as_text_is_rebuilt_from_integers_and_nothing_stays_held() {
    let lake = TestLake::new();
    let contract = Contract::Evolve;
    let records = [
        valued(1, json!(10)),
        valued(2, json!("B-7")),
        valued(3, json!(30)),
    ];
    lake.sync(&typed("integer", contract, "r1"), &[&records]).await;
    assert_eq!(held(&lake).await, 1);
    let before = lake.rows(TABLE, &["id", "total"]).await;
    let text = typed("string", contract, "r2");
    for _ in 0..2 {
        let release = lake.lake.release_held(&text, &Choice::All, "ann", "mended").await;
        let error = release.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Schema);
        let next = error.next_step().unwrap();
        assert!(next.contains("weir lake rebuild shop orders"), "{next}");
        assert_eq!(held(&lake).await, 1);
        assert_eq!(lake.rows(TABLE, &["id", "total"]).await, before);
    }
    for released in [1, 0] {
        let done = lake.lake.rebuild(&text, false).await.unwrap();
        assert_eq!((done.rows, done.released, done.rejected), (3, released, 0));
        assert_eq!(held(&lake).await, 0);
    }
    insta::assert_snapshot!(lake.rows(TABLE, &["id", "total"]).await.join("\n"), @r#"
    {"id":1,"total":"10"}
    {"id":2,"total":"B-7"}
    {"id":3,"total":"30"}
    "#);
    assert!(release(&lake, &text, &Choice::All).await.is_none());
    lake.sync(&text, &[&[valued(4, json!("C-1"))]]).await;
    assert_eq!(lake.rows(TABLE, &["id"]).await.len(), 4);
}

#[tokio::test]
async fn a_wider_declared_type_is_taken_on_by_a_release_in_place() {
    let lake = TestLake::new();
    let contract = Contract::Quarantine;
    let records = [valued(1, json!(10)), valued(2, json!(2.5))];
    lake.sync(&typed("integer", contract, "r1"), &[&records]).await;
    assert_eq!(held(&lake).await, 1);
    let receipt = release(&lake, &typed("number", contract, "r2"), &Choice::All).await;
    assert_eq!(receipt.unwrap().books.landed, 1);
    assert_eq!(held(&lake).await, 0);
    insta::assert_snapshot!(lake.rows(TABLE, &["id", "total"]).await.join("\n"), @r#"
    {"id":1,"total":10.0}
    {"id":2,"total":2.5}
    "#);
}

#[tokio::test]
async fn a_rebuild_makes_the_table_that_the_new_mode_would_have_made() {
    use SyncMode as M;
    let runs = [
        vec![
            vec![order(1, "01-01", 1.0), order(2, "01-01", 2.0)],
            vec![order(1, "01-03", 3.0), order(3, "01-02", 4.0)],
        ],
        vec![vec![order(2, "01-04", 5.0), order(4, "01-04", 6.0)]],
    ];
    for (old, new) in [
        (M::IncrementalMerge, M::IncrementalHistory),
        (M::IncrementalHistory, M::IncrementalMerge),
        (M::IncrementalAppend, M::IncrementalMerge),
        (M::IncrementalMerge, M::IncrementalAppend),
        (M::FullRefreshMerge, M::FullRefreshHistory),
        (M::FullRefreshReplace, M::FullRefreshHistory),
    ] {
        let lake = TestLake::new();
        fill(&lake, [&mended(old, "r1", true), &mended(old, "r2", true)], &runs).await;
        let plan = mended(new, "r3", true);
        let refused = lake.lake_open_error(&plan).await;
        assert_eq!(refused.kind(), ErrorKind::Spec, "{old} {new}");
        let said = format!("{refused:?}");
        for part in [old.as_str(), new.as_str(), "weir lake rebuild shop orders"] {
            assert!(said.contains(part), "{said}");
        }
        let error = lake.lake.release_held(&plan, &Choice::All, "ann", "x").await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Spec, "{old} {new}");

        let expected = TestLake::new();
        fill(
            &expected,
            [&mended(new, "r1", true), &mended(new, "r2", true)],
            &runs,
        )
        .await;
        for _ in 0..2 {
            lake.lake.rebuild(&plan, false).await.unwrap();
            assert_eq!(
                table(&lake, new).await,
                table(&expected, new).await,
                "{old} {new}"
            );
        }
        // It goes on in the new mode, and the old one is refused now.
        for lake in [&lake, &expected] {
            lake.sync(&plan, &[&[order(4, "02-01", 9.0), order(5, "02-01", 9.5)]])
                .await;
        }
        assert_eq!(
            table(&lake, new).await,
            table(&expected, new).await,
            "{old} {new}"
        );
        let back = weir_protocol::Destination::open(&lake.lake, mended(old, "r4", true)).await;
        assert!(
            back.is_err() || old.write() == weir_protocol::WriteMode::Replace,
            "{old} {new}"
        );
    }
}

#[tokio::test]
async fn a_rebuild_makes_the_table_that_the_new_key_would_have_made() {
    let of = |id: i64, shop: &str, at: &str, total: f64| {
        let mut record = order(id, at, total);
        record["shop"] = json!(shop);
        record
    };
    let pages: [&[Value]; 2] = [
        &[of(1, "a", "01-01", 1.0), of(1, "b", "01-02", 2.0)],
        &[of(2, "a", "01-01", 3.0), of(1, "a", "01-03", 4.0)],
    ];
    let keyed = |mode, run: &str, key: &[&str]| {
        let mut plan = plan(mode, run);
        plan.stream.primary_key = key.iter().map(|path| (*path).to_owned()).collect();
        plan
    };
    let columns = ["id", "shop", "total", "_run"];
    for (mode, old, new) in [
        (SyncMode::IncrementalMerge, &["id"][..], &["id", "shop"][..]),
        (SyncMode::IncrementalMerge, &["id", "shop"], &["id"]),
        (SyncMode::IncrementalHistory, &["id"], &["shop", "id"]),
        (SyncMode::IncrementalAppend, &["id"], &[]),
        (SyncMode::IncrementalAppend, &[], &["id"]),
    ] {
        let lake = TestLake::new();
        lake.sync(&keyed(mode, "r1", old), &pages).await;
        let changed = keyed(mode, "r2", new);
        let refused = lake.lake_open_error(&changed).await;
        assert_eq!(refused.kind(), ErrorKind::Spec, "{mode} {new:?}");
        lake.lake.rebuild(&changed, false).await.unwrap();
        let expected = TestLake::new();
        expected.sync(&keyed(mode, "r1", new), &pages).await;
        assert_eq!(
            lake.rows(TABLE, &columns).await,
            expected.rows(TABLE, &columns).await,
            "{mode} {old:?} {new:?}"
        );
        lake.sync(&changed, &[&[of(1, "c", "02-01", 5.0)]]).await;
    }
}

#[tokio::test]
async fn a_full_refresh_of_which_nothing_fits_is_given_up() {
    for mode in [
        SyncMode::FullRefreshReplace,
        SyncMode::FullRefreshMerge,
        SyncMode::FullRefreshHistory,
    ] {
        let lake = TestLake::new();
        let good = [order(1, "01-01", 1.0), order(2, "01-01", 2.0)];
        lake.sync(&strict(mode, "r1", true), &[&good]).await;
        let before = table(&lake, mode).await;
        let version = lake.lake.snapshot(TABLE, None).await.unwrap().version;
        let mut bad = good.clone();
        bad.iter_mut().for_each(|record| record["note"] = json!("x"));
        for _ in 0..2 {
            let mut writer = lake.open(&strict(mode, "r2", true)).await;
            assert_eq!(writer.committed().unwrap().run, "r1", "{mode}");
            writer.write(batch(&bad[..1])).await.unwrap();
            writer.checkpoint(&partly(0)).await.unwrap();
            writer.write(batch(&bad[1..])).await.unwrap();
            let finished = writer.finish(&complete(2)).await.unwrap();
            let books = finished.receipt.books;
            assert_eq!((books.read, books.landed, books.quarantined), (2, 0, 2), "{mode}");
            assert_eq!(finished.receipt.quarantine_reasons.len(), 1);
            let refusal = finished.refusal.unwrap();
            assert_eq!(refusal.kind(), ErrorKind::Gate);
            assert!(
                refusal
                    .next_step()
                    .unwrap()
                    .contains("weir quarantine list shop orders")
            );
            assert_eq!(table(&lake, mode).await, before, "{mode}");
            assert_eq!(lake.lake.snapshot(TABLE, None).await.unwrap().version, version);
            assert_eq!(held(&lake).await, 2, "{mode}");
        }
        // A part that fits is enough, and so is a source that has nothing.
        lake.sync(&strict(mode, "r3", true), &[&good, &bad[..1]]).await;
        assert_eq!(held(&lake).await, 1, "{mode}");
        lake.sync(&strict(mode, "r4", true), &[&[]]).await;
    }
}

#[tokio::test]
async fn released_parents_bring_their_children() {
    let lined = |id: i64, at: &str, skus: &[&str], noted: bool| {
        let mut record = crate::children::order(id, at, skus);
        if noted {
            record["note"] = json!("x");
        }
        record
    };
    let runs = [
        vec![
            vec![
                lined(1, "01-01", &["a"], false),
                lined(2, "01-01", &["b", "c"], true),
            ],
            vec![lined(1, "01-03", &["d"], true), lined(3, "01-02", &[], false)],
        ],
        vec![vec![
            lined(2, "01-04", &["e"], false),
            lined(4, "01-04", &["f"], true),
        ]],
    ];
    let declared = |mode, run: &str, note: bool| {
        let mut plan = exploding(mode, run);
        let base = if note {
            mended(mode, run, true)
        } else {
            strict(mode, run, true)
        };
        plan.stream.policy.contract = Contract::Quarantine;
        plan.stream.schema = base.stream.schema;
        let lines = json!({ "type": "array", "items": { "type": "object", "properties": {
            "sku": { "type": "string" } } } });
        plan.stream.schema.as_mut().unwrap()["properties"]["lines"] = lines;
        plan
    };
    for mode in SyncMode::ALL {
        let children = async |lake: &TestLake| {
            let mut columns = vec!["_parent_id", "_index", "sku", "_run", "_cursor"];
            if matches!(mode, SyncMode::IncrementalHistory | SyncMode::FullRefreshHistory) {
                columns.extend(["_valid_from", "_is_current"]);
            }
            (table(lake, mode).await, lake.rows(CHILD, &columns).await)
        };
        let expected = TestLake::new();
        fill(
            &expected,
            [&declared(mode, "r1", true), &declared(mode, "r2", true)],
            &runs,
        )
        .await;
        let wanted = children(&expected).await;
        let lake = TestLake::new();
        fill(
            &lake,
            [&declared(mode, "r1", false), &declared(mode, "r2", false)],
            &runs,
        )
        .await;
        let bronze = bronze_bytes(&lake);
        let plan = declared(mode, "r3", true);
        let first = lake.lake.quarantined("acme", "orders", 9).await.unwrap().entries[0]
            .id
            .clone();
        release(&lake, &plan, &Choice::Ids([first].into())).await.unwrap();
        release(&lake, &plan, &Choice::All).await;
        assert_eq!(held(&lake).await, 0, "{mode}");
        assert_eq!(children(&lake).await, wanted, "{mode}");
        lake.lake.rebuild(&plan, false).await.unwrap();
        assert_eq!(children(&lake).await, wanted, "{mode}");
        assert_eq!(bronze_bytes(&lake), bronze, "{mode}");
    }
}

#[tokio::test]
async fn a_record_that_is_null_is_held_like_any_other() {
    let lake = TestLake::new();
    let plan = plan(SyncMode::IncrementalMerge, "r1");
    lake.sync(&plan, &[&[order(1, "01-01", 1.0), Value::Null]]).await;
    let held = lake.lake.quarantined("acme", "orders", 9).await.unwrap();
    assert_eq!((held.total, held.entries[0].record.as_ref()), (1, &b"null"[..]));
    let before = lake.rows("acme_orders", &["id"]).await;
    let again = WritePlan {
        run: "r2".to_owned(),
        ..plan
    };
    lake.lake.rebuild(&again, false).await.unwrap();
    assert_eq!(lake.rows("acme_orders", &["id"]).await, before);
    assert_eq!(lake.lake.quarantined("acme", "orders", 9).await.unwrap().total, 1);
}

#[tokio::test]
async fn an_empty_text_in_a_partitioned_key_does_not_double_its_row() {
    let lake = TestLake::new();
    let mut by_country = plan(SyncMode::IncrementalMerge, "r1");
    by_country.stream.primary_key = vec!["country".to_owned(), "id".to_owned()];
    by_country.stream.policy.partition_by = vec!["country".to_owned()];
    let rows = ["", "de"].map(|country| json!({ "id": 1, "country": country, "at": "2026-01-01T00:00:00Z" }));
    for run in ["r1", "r2", "r3"] {
        by_country.run = run.to_owned();
        lake.sync(&by_country, &[&rows]).await;
        assert_eq!(lake.rows("acme_orders", &["id", "country"]).await.len(), 2);
    }
}
