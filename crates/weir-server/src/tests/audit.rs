//! The audit trail over the API: read, verified, taken along.

use std::io::BufReader;

use weir_control::audit::{self, Record};

use super::*;

async fn note(served: &Served, count: usize) {
    let records: Vec<Record> = (0..count)
        .map(|number| Record::new(&served.tenant, "test.note", format!("thing:{number}")))
        .collect();
    audit::append_all(&served.store, &records).await.unwrap();
}

fn numbers(page: &Value) -> Vec<i64> {
    let items = page["items"].as_array().unwrap().iter();
    items.map(|item| item["number"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn records_are_found_by_what_they_tell_the_newest_first() {
    let served = served().await;
    note(&served, 5).await;
    let (_, page) = served.get("/api/v1/audit?action=test.note&limit=2").await;
    let found = numbers(&page);
    assert_eq!(found[0], found[1] + 1);
    assert_eq!(page["items"][0]["subject"], "thing:4");
    assert_eq!(page["items"][0]["principal"], "system");
    let next = page["next"].as_str().unwrap();
    let (_, rest) = served
        .get(&format!("/api/v1/audit?action=test.note&after={next}"))
        .await;
    assert_eq!(numbers(&rest), [found[1] - 1, found[1] - 2, found[1] - 3]);
    assert!(rest.get("next").is_none());

    let asked = async |query: &str| {
        let (_, page) = served.get(&format!("/api/v1/audit?{query}")).await;
        numbers(&page).len()
    };
    assert_eq!(asked("subject=thing:3").await, 1);
    assert_eq!(asked("principal=nobody").await, 0);
    assert_eq!(asked("since=9999-01-01").await, 0);
    assert!(asked("since=2026-01-01T00:00:00Z").await >= 5);
    for wrong in ["since=soon", "after=x", "limit=201"] {
        served
            .ask("GET", &format!("/api/v1/audit?{wrong}"), "")
            .await
            .problem(400);
    }
}

#[tokio::test]
async fn a_trail_is_verified_against_a_head_that_was_noted_elsewhere() {
    let served = served().await;
    note(&served, 3).await;
    let (status, found) = served.get("/api/v1/audit/verification").await;
    assert_eq!((status, &found["outcome"]), (200, &"holds".into()));
    let (number, hash) = (&found["number"], found["hash"].as_str().unwrap());
    let head = format!("/api/v1/audit/verification?head={number}:{hash}");
    assert_eq!(served.get(&head).await.1["outcome"], "holds");
    let other = hash.chars().rev().collect::<String>();
    let head = format!("/api/v1/audit/verification?head={number}:{other}");
    let (status, found) = served.get(&head).await;
    assert_eq!((status, &found["outcome"]), (200, &"broken".into()));
    assert_eq!(&found["number"], number);
    assert!(found["why"].is_string());
    served
        .ask("GET", "/api/v1/audit/verification?head=x", "")
        .await
        .problem(400);
}

#[tokio::test]
async fn an_export_of_many_records_verifies_without_the_store_and_belongs_to_the_tenant() {
    let served = served().await;
    // More than are read in one go.
    note(&served, 1_500).await;
    let answer = served.ask("GET", "/api/v1/audit/export", "").await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/jsonl")),
        "{}",
        answer.text
    );
    assert_eq!(answer.header("etag"), None);
    let text = answer.body_of_chunks();
    let header: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(header["tenant"], served.tenant);
    let verified = audit::verify_export(&mut BufReader::new(text.as_bytes()), &[], None)
        .unwrap()
        .unwrap();
    assert!(verified.records >= 1_500, "{}", verified.records);
    let lines = text.lines().count();
    let cut: String = text.split_inclusive('\n').take(lines / 2).collect();
    assert!(
        audit::verify_export(&mut BufReader::new(cut.as_bytes()), &[], None)
            .unwrap()
            .is_err()
    );
}

#[tokio::test]
async fn a_server_without_the_key_says_so() {
    let served = served_with(Settings::default()).await;
    for path in ["verification", "export"] {
        served
            .ask("GET", &format!("/api/v1/audit/{path}"), "")
            .await
            .problem(503);
    }
}

#[tokio::test]
async fn a_key_from_before_is_known_to_the_server() {
    let (old, new) = (SealKey::generate().unwrap(), SealKey::generate().unwrap());
    let (old, new) = (SealKey::parse(&old).unwrap(), SealKey::parse(&new).unwrap());
    for (known, outcome) in [
        (vec![new.public()], "broken"),
        (vec![new.public(), old.public()], "holds"),
    ] {
        let served = served_with(Settings {
            audit_keys: known,
            ..able()
        })
        .await;
        note(&served, 3).await;
        audit::seal(&served.store, &served.tenant, &old).await.unwrap();
        let found = served.ask("GET", "/api/v1/audit/verification", "").await.json();
        assert_eq!(found["outcome"], outcome, "{found}");
    }
}
