use super::*;
use crate::DEFAULT_TENANT;
use crate::events::EventFilter;
use crate::store::testing;
use crate::store::testing::execute;

#[tokio::test]
async fn a_promise_that_passed_unkept_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let now = store.now_ms().await.unwrap();
    execute(
        &store,
        "INSERT INTO connections (tenant, name, connector, source, created_at_ms, updated_at_ms)
         VALUES ('default', 'shop', 'http_json', 'shop', 1, 1)",
    )
    .await;
    // Due and late; late but of long ago; in time; still to come.
    for (id, due, promised, status, finished) in [
        ("a", now - 5000, now - 1000, "queued", None),
        ("b", 1, 2, "failed", Some(3)),
        ("c", now - 9000, now - 4000, "succeeded", Some(now - 5000)),
        ("d", now - 1, now + 60_000, "running", None),
        ("e", now - 7000, now - 4000, "succeeded", Some(now - 1000)),
    ] {
        let finished = finished.map_or_else(|| "NULL".to_owned(), |at: i64| at.to_string());
        let sql = format!(
            "INSERT INTO runs (id, tenant, connection, kind, started_by, status, created_at_ms, due_at_ms,
                               promised_by_ms, finished_at_ms)
             VALUES ('{id}', 'default', 'shop', 'sync', 'schedule', '{status}', 1, {due}, {promised}, {finished})"
        );
        execute(&store, &sql).await;
    }
    for _ in 0..3 {
        watch(&store, &Settings::default()).await.unwrap();
    }
    let filter = EventFilter {
        family: Some("sla.missed".to_owned()),
        limit: 9,
        ..EventFilter::default()
    };
    let told = events::list(&store, DEFAULT_TENANT, &filter).await.unwrap();
    let mut due: Vec<&Value> = told.iter().map(|event| &event.data["due_at_ms"]).collect();
    due.sort_by_key(|due| due.as_i64());
    assert_eq!(due, [now - 7000, now - 5000]);
}

#[tokio::test]
async fn silences_are_bounded_reasoned_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let now = store.now_ms().await.unwrap();
    let new = |reason: &str, ends_at_ms| NewSilence {
        rule: Some(Rule::SlaMissed),
        connection: None,
        reason: reason.to_owned(),
        ends_at_ms,
    };
    for bad in [
        new("why", now - 1),
        new("why", now + SILENCE_MS_MAX + 60_000),
        new(" ", now + 60_000),
    ] {
        let error = silence(&store, DEFAULT_TENANT, &bad).await.unwrap_err();
        assert!(error.next_step().is_some());
    }
    let made = silence(&store, DEFAULT_TENANT, &new("why", now + 60_000))
        .await
        .unwrap();
    assert_eq!(
        silences(&store, DEFAULT_TENANT).await.unwrap(),
        std::slice::from_ref(&made)
    );
    assert!(silences(&store, "other").await.unwrap().is_empty());
    unsilence(&store, DEFAULT_TENANT, &made.id).await.unwrap();
    assert!(silences(&store, DEFAULT_TENANT).await.unwrap().is_empty());
    assert!(unsilence(&store, DEFAULT_TENANT, &made.id).await.is_err());
}
