//! Secrets over the API: what is put in comes out nowhere.

use std::io::Write;
use std::sync::Mutex;

use weir_control::audit::{self, EntryFilter};

use super::*;

const PLANTED: &str = "hunter2-of-the-vendor";
const PATH: &str = "/api/v1/secrets/shop_key";

/// What is logged, of every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_value_is_in_no_answer_log_record_nor_kept_answer() {
    let log = Log::default();
    let writer = log.clone();
    let logging = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let logging = tracing::Dispatch::new(logging);
    // Of one alone, what other tests log first would decide what is heard of at all.
    let _beside = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    // Only what this thread does: the server and its requests run on it.
    let _logging = tracing::dispatcher::set_default(&logging);
    let served = served().await;
    let mut answers = Vec::new();
    let right = format!(r#"{{"value": "{PLANTED}", "expires_in_days": 30}}"#);
    for body in [
        right.clone(),
        // Sent again with the same key.
        right.clone(),
        format!(r#"{{"value": "{PLANTED}", "colour": "{PLANTED}"}}"#),
        format!(r#"{{"value": ["{PLANTED}"]}}"#),
        format!(r#"{{"{PLANTED}": 1}}"#),
        format!(r#"{{"value": "x", "expires_in_days": "{PLANTED}"}}"#),
        format!(r#""{PLANTED}""#),
        format!(r#"{{"value": "{PLANTED}"#),
        format!(r#"{{"value": "{PLANTED}\u0000"}}"#),
        format!(r#"{{"value": "{PLANTED}{}"}}"#, "x".repeat(65 << 10)),
        format!(r#"{{"value": "{PLANTED}{}"}}"#, "x".repeat(2 << 20)),
    ] {
        let answer = served
            .ask_with("PUT", PATH, ("idempotency-key", "k"), &body)
            .await;
        answers.push((answer.status, answer.text.clone(), answer.head.clone()));
    }
    let statuses: Vec<u16> = answers.iter().map(|(status, ..)| *status).collect();
    assert_eq!(statuses, [200, 200, 422, 422, 422, 422, 422, 400, 422, 400, 413]);
    for path in [
        "/api/v1/secrets",
        PATH,
        "/api/v1/audit",
        "/api/v1/audit/export",
        "/metrics",
    ] {
        let answer = served.ask("GET", path, "").await;
        assert_eq!(answer.status, 200, "{path}");
        answers.push((answer.status, answer.text.clone(), answer.head.clone()));
    }
    for (_, text, head) in &answers {
        assert!(!text.contains(PLANTED) && !head.contains(PLANTED), "{text}");
    }
    let filter = EntryFilter {
        limit: 100,
        ..EntryFilter::default()
    };
    let noted = audit::list(&served.store, &served.tenant, &filter).await.unwrap();
    assert!(noted.iter().any(|entry| entry.action == "secret.set"));
    assert!(!format!("{noted:?}").contains(PLANTED));
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        logged.contains("/api/v1/secrets/{name}"),
        "nothing was logged: {logged}"
    );
    assert!(!logged.contains(PLANTED));
    // Where it belongs, it is: else all this would prove nothing.
    let kept = OneKey.open(&served.store, &served.tenant).await.unwrap();
    assert_eq!(kept.read("shop_key").await.unwrap().expose(), PLANTED);
}

#[tokio::test]
async fn not_even_the_hash_of_a_request_with_a_value_is_kept() {
    let served = served().await;
    let key = ("idempotency-key", "k");
    let first = served.ask_with("PUT", PATH, key, r#"{"value": "one"}"#).await;
    assert_eq!((first.status, &first.json()["version"]), (200, &1.into()));
    // Were the key kept, this would be refused, and would so tell whether two values are the same.
    let second = served.ask_with("PUT", PATH, key, r#"{"value": "two"}"#).await;
    assert_eq!((second.status, &second.json()["version"]), (200, &2.into()));
    assert_eq!(second.header("idempotent-replayed"), None);
}

#[tokio::test]
async fn what_changed_meanwhile_is_neither_overwritten_nor_deleted() {
    let served = served().await;
    let value = r#"{"value": "one", "expires_in_days": 2}"#;
    let absent = served.ask_with("PUT", PATH, ("if-match", "*"), value).await;
    absent.problem(412);
    assert_eq!(served.ask("PUT", PATH, value).await.status, 200);
    let shown = served.ask("GET", PATH, "").await;
    assert!(shown.json()["expires_at_ms"].is_i64());
    let tag = shown.header("etag").unwrap().to_owned();
    let second = served
        .ask_with("PUT", PATH, ("if-match", &tag), r#"{"value": "two"}"#)
        .await;
    assert_eq!(second.json()["version"], 2);
    for method in ["PUT", "DELETE"] {
        let body = if method == "PUT" { value } else { "" };
        served
            .ask_with(method, PATH, ("if-match", &tag), body)
            .await
            .problem(412);
    }
    let gone = served.ask("DELETE", PATH, "").await;
    assert_eq!((gone.status, &gone.json()["version"]), (200, &2.into()));
    served.ask("GET", PATH, "").await.problem(404);
    served.ask("DELETE", PATH, "").await.problem(404);
    for wrong in ["/api/v1/secrets/oauth%2Fshop", "/api/v1/secrets/a%20b"] {
        served.ask("PUT", wrong, value).await.problem(400);
    }
}

#[tokio::test]
async fn what_files_name_is_deleted_only_by_who_accepts_the_loss() {
    let served = served().await;
    let path = "/api/v1/secrets/named";
    for days in ["0", "36501"] {
        let body = format!(r#"{{"value": "x", "expires_in_days": {days}}}"#);
        served.ask("PUT", path, &body).await.problem(400);
    }
    assert_eq!(served.ask("PUT", path, r#"{"value": "x"}"#).await.status, 200);
    let refused = served.ask("DELETE", path, "").await;
    let body = refused.problem(422);
    assert_eq!(body["context"]["named by"], "connections/shop.yaml");
    let accepted = format!("{path}?accept_loss=true");
    assert_eq!(served.ask("DELETE", &accepted, "").await.status, 200);
    served.ask("GET", path, "").await.problem(404);
}
