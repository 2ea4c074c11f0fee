use proptest::prelude::*;

use super::*;
use crate::store::testing;
use crate::{DEFAULT_TENANT, runs, states};

const WEIR: (&str, &str) = (PROJECT_FILE, "project: shop\n");

fn files(more: &[(&str, &str)]) -> Files {
    let all = [WEIR].into_iter().chain(more.iter().copied());
    all.map(|(path, text)| (path.to_owned(), text.to_owned()))
        .collect()
}

/// A folder in which each connection's file holds its connector, and `secret:` references.
fn wanted(more: &[(&str, &str)]) -> Wanted {
    let files = files(more);
    let connections = files
        .iter()
        .filter_map(|(path, text)| {
            let (kind, name) = ObjectKind::of(path)?;
            (kind == ObjectKind::Connection).then(|| WantedConnection {
                connection: Connection::new(name, text.split_whitespace().next().unwrap(), "shop"),
                schedule: text
                    .contains("hourly")
                    .then(|| serde_json::from_str(r#"{"tier": "critical"}"#).unwrap()),
                references: references(text),
            })
        })
        .collect();
    Wanted { files, connections }
}

struct World {
    _folder: tempfile::TempDir,
    store: Store,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = testing::store(folder.path()).await;
        Self {
            _folder: folder,
            store,
        }
    }

    async fn plan(&self, wanted: &Wanted) -> Plan {
        plan(&self.store, DEFAULT_TENANT, wanted).await.unwrap()
    }

    async fn apply(&self, more: &[(&str, &str)], accepted: &[&str]) -> Result<i64> {
        let wanted = wanted(more);
        let plan = self.plan(&wanted).await;
        let accepted: Vec<String> = accepted.iter().map(ToString::to_string).collect();
        apply(&self.store, &plan, &wanted, &accepted).await
    }
}

#[tokio::test]
async fn what_is_applied_is_there_and_differs_no_more() {
    let world = World::new().await;
    let folder = [
        ("connections/shop.yaml", "http_json hourly"),
        ("models/a/sales.sql", "SELECT 1\n"),
    ];
    assert_eq!(world.apply(&folder, &[]).await.unwrap(), 1);
    let again = world.plan(&wanted(&folder)).await;
    assert_eq!((again.changes.as_slice(), again.base_version), ([].as_slice(), 1));
    assert_eq!(world.apply(&folder, &[]).await.unwrap(), 1);
    let applied = current(&world.store, DEFAULT_TENANT).await.unwrap();
    assert_eq!(applied.files, files(&folder));
    let known = connections::get(&world.store, DEFAULT_TENANT, "shop")
        .await
        .unwrap();
    assert_eq!(known.connector, "http_json");
    assert_eq!(
        schedules::list(&world.store, DEFAULT_TENANT).await.unwrap().len(),
        1
    );

    // The schedule goes with its connection; the audit trail says so.
    assert_eq!(world.apply(&[], &[]).await.unwrap(), 2);
    assert!(
        schedules::list(&world.store, DEFAULT_TENANT)
            .await
            .unwrap()
            .is_empty()
    );
    let filter = audit::EntryFilter {
        limit: 50,
        ..Default::default()
    };
    let noted = audit::list(&world.store, DEFAULT_TENANT, &filter).await.unwrap();
    let actions: Vec<&str> = noted.iter().rev().map(|entry| entry.action.as_str()).collect();
    assert_eq!(
        actions,
        [
            "project.apply",
            "schedule.set",
            "project.apply",
            "schedule.remove"
        ]
    );
    assert!(
        noted[3].details.contains("+connection:shop"),
        "{}",
        noted[3].details
    );
}

#[tokio::test]
async fn of_two_plans_one_is_applied_and_the_other_planned_anew() {
    let world = World::new().await;
    let (one, other) = (
        wanted(&[("models/a.sql", "SELECT 1")]),
        wanted(&[("models/b.sql", "SELECT 2")]),
    );
    let plans = [(world.plan(&one).await, &one), (world.plan(&other).await, &other)];
    let applies = plans
        .iter()
        .map(|(plan, wanted)| apply(&world.store, plan, wanted, &[]));
    let ended = futures::future::join_all(applies).await;
    assert_eq!(ended.iter().filter(|end| end.is_ok()).count(), 1);
    let error = ended.into_iter().find_map(Result::err).unwrap();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.next_step().unwrap().contains("weir plan"), "{error:?}");
    // Not even the same plan a second time.
    let done = plans
        .iter()
        .find(|(plan, _)| plan.changes.iter().any(|change| change.name == "a"))
        .unwrap();
    let again = apply(&world.store, &done.0, done.1, &[]).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Conflict);
    // Nor is a folder that changed after the plan.
    let plan = world.plan(&one).await;
    let error = apply(&world.store, &plan, &other, &[]).await.unwrap_err();
    assert!(error.message().contains("folder"), "{error}");
}

#[tokio::test]
async fn nothing_is_left_behind_unless_it_is_named() {
    let world = World::new().await;
    let folder = [("connections/shop.yaml", "http_json token: secret:shop_token")];
    world.apply(&folder, &[]).await.unwrap();
    let shop = connections::get(&world.store, DEFAULT_TENANT, "shop")
        .await
        .unwrap();
    states::set(&world.store, &shop, "orders", &states::Wish::Reset)
        .await
        .unwrap();
    testing::execute(
        &world.store,
        "INSERT INTO secrets (tenant, name, id, version, master_key_id, wrapped_key, ciphertext, created_at_ms, set_at_ms)
         VALUES ('default', 'shop_token', 'x', 1, 'x', 'x', 'x', 1, 1)",
    )
    .await;
    let error = world.apply(&[], &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gate);
    let hint = error.next_step().unwrap();
    assert!(
        hint.contains("--accept-orphans connection:shop,secret:shop_token"),
        "{hint}"
    );
    world.apply(&[], &["connection:shop"]).await.unwrap_err();
    // Renamed, or reading something else: the same.
    world
        .apply(&[("connections/store.yaml", "http_json secret:shop_token")], &[])
        .await
        .unwrap_err();
    world
        .apply(&[("connections/shop.yaml", "github secret:shop_token")], &[])
        .await
        .unwrap_err();
    assert_eq!(version(&world.store, DEFAULT_TENANT).await.unwrap(), 1);
    world
        .apply(&[], &["connection:shop", "secret:shop_token"])
        .await
        .unwrap();
    assert_eq!(
        states::list(&world.store, DEFAULT_TENANT, "shop")
            .await
            .unwrap()
            .len(),
        1
    );
    assert!(
        runs::list(&world.store, DEFAULT_TENANT, &Default::default())
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn tenants_have_projects_of_their_own() {
    let world = World::new().await;
    tenants::create(&world.store, "north").await.unwrap();
    world.apply(&[("models/a.sql", "SELECT 1")], &[]).await.unwrap();
    assert_eq!(current(&world.store, "north").await.unwrap(), Applied::default());
}

#[test]
fn a_difference_is_readable() {
    let before: String = (1..=20).map(|line| format!("line {line}\n")).collect();
    let after = before.replace("line 10\n", "line ten\n");
    let changes = difference(
        &files(&[("models/a.sql", &before)]),
        &files(&[("models/a.sql", &after)]),
    );
    insta::assert_json_snapshot!(changes[0].files[0].lines, @r#"
    [
      {
        "skipped": 6
      },
      {
        "kept": "line 7\n"
      },
      {
        "kept": "line 8\n"
      },
      {
        "kept": "line 9\n"
      },
      {
        "removed": "line 10\n"
      },
      {
        "added": "line ten\n"
      },
      {
        "kept": "line 11\n"
      },
      {
        "kept": "line 12\n"
      },
      {
        "kept": "line 13\n"
      },
      {
        "skipped": 7
      }
    ]
    "#);
}

#[test]
fn what_is_no_part_of_a_project_is_refused() {
    for path in [
        "../weir.yaml",
        "connections/../../x.yaml",
        ".weir/master.key",
        ".env",
        "connections//x",
        "readme.md",
    ] {
        check(&files(&[(path, "x")])).unwrap_err();
    }
    check(&Files::new()).unwrap_err();
    check(&files(&[("models/a.sql", "a\0b")])).unwrap_err();
    check(&files(&[("connectors/acme/schemas/a.json", "{}")])).unwrap();
}

#[test]
fn references_are_found_in_any_text() {
    let text =
        "credential:\n  token: secret:a_b\n  other: \"secret:c\"\n  third: secret:vault/x#y\n# secret:d";
    assert_eq!(
        references(text),
        BTreeSet::from(["a_b".to_owned(), "c".to_owned(), "d".to_owned()])
    );
}

fn any_files() -> impl Strategy<Value = Files> {
    let path = prop_oneof![
        "connections/[a-c]\\.yaml",
        "models/[a-c]{1,2}/[a-c]\\.sql",
        "connectors/[a-c]/connector\\.yaml",
        "policies/[a-c]\\.cedar"
    ];
    let text = proptest::collection::vec("[a-c]?\n?", 0..12).prop_map(|parts| parts.concat());
    proptest::collection::btree_map(path, text, 0..8)
}

/// What a difference says, done to what was before.
fn patched(before: &Files, changes: &[Change]) -> Files {
    let mut files = before.clone();
    for file in changes.iter().flat_map(|change| &change.files) {
        let whole = before.get(&file.path).map_or("", String::as_str);
        let mut old = whole.split_inclusive('\n');
        let mut text = String::new();
        for line in &file.lines {
            match line {
                Line::Kept(line) => {
                    assert_eq!(old.next(), Some(line.as_str()));
                    text.push_str(line);
                }
                Line::Removed(line) => assert_eq!(old.next(), Some(line.as_str())),
                Line::Added(line) => text.push_str(line),
                Line::Skipped(count) => text.extend(old.by_ref().take(*count)),
            }
        }
        match file.change {
            ChangeKind::Removed => files.remove(&file.path),
            ChangeKind::Added | ChangeKind::Changed => files.insert(file.path.clone(), text),
        };
    }
    files
}

proptest! {
    #[test]
    fn a_difference_leads_from_one_folder_to_the_other(before in any_files(), after in any_files()) {
        let changes = difference(&before, &after);
        prop_assert_eq!(patched(&before, &changes), after.clone());
        prop_assert!(difference(&after, &after).is_empty());
        prop_assert_eq!(before == after, digest(&before) == digest(&after));
    }
}

/// What is given back is what was applied, whatever was applied before it.
#[test]
fn what_is_exported_is_what_was_applied() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = runtime.block_on(World::new());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(24));
    runner
        .run(&any_files(), |mut files| {
            files.insert(WEIR.0.to_owned(), WEIR.1.to_owned());
            let wanted = Wanted {
                files: files.clone(),
                connections: Vec::new(),
            };
            let applied = runtime.block_on(async {
                let plan = world.plan(&wanted).await;
                apply(&world.store, &plan, &wanted, &[]).await.unwrap();
                current(&world.store, DEFAULT_TENANT).await.unwrap()
            });
            prop_assert_eq!(&applied.files, &files);
            prop_assert!(runtime.block_on(world.plan(&wanted)).changes.is_empty());
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn a_grant_that_its_provider_still_takes_is_not_left_behind_unseen() {
    let world = World::new().await;
    world
        .apply(&[("connections/crm.yaml", "crm")], &[])
        .await
        .unwrap();
    testing::execute(
        &world.store,
        "INSERT INTO grants (tenant, connection, state, client, method, asked, scopes, version, can_refresh,
                             connected_at_ms, refreshed_at_ms, term)
         VALUES ('default', 'crm', 'connected', 'weir', 'device', '[]', '[]', 1, 1, 1, 1, 0)",
    )
    .await;
    let plan = world.plan(&wanted(&[])).await;
    let orphans: Vec<&str> = plan.orphans.iter().map(|orphan| orphan.name.as_str()).collect();
    assert_eq!(orphans, ["grant:crm"]);
    let error = world.apply(&[], &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gate);
    assert!(error.message().contains("weir auth logout crm"), "{error}");
    let hint = error.next_step().unwrap();
    assert!(hint.contains("--accept-orphans grant:crm"), "{hint}");
    world.apply(&[], &["connection:crm"]).await.unwrap_err();
    // One that is given up leaves nothing behind.
    testing::execute(&world.store, "UPDATE grants SET state = 'revoked'").await;
    assert!(world.plan(&wanted(&[])).await.orphans.is_empty());
    testing::execute(&world.store, "UPDATE grants SET state = 'connected'").await;
    world.apply(&[], &["grant:crm"]).await.unwrap();
}
