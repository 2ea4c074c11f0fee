use std::collections::BTreeSet;

use reqwest::{Client, Response};
use serde_json::Value;

use super::super::dataset::{ADDED, CHANGED, COMMENTS, ISSUES, PULLS};
use super::super::render::REPOSITORY;
use super::*;

struct Asker {
    client: Client,
    server: Server,
}

impl Asker {
    async fn start() -> Self {
        let client = Client::builder().user_agent("test").build().unwrap();
        Self {
            client,
            server: Server::start().await.unwrap(),
        }
    }

    async fn get(&self, path: &str) -> Response {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}/repos/{REPOSITORY}{path}", self.server.base_url())
        };
        self.client.get(url).bearer_auth(TOKEN).send().await.unwrap()
    }

    /// All records of a list, asked for as a sync does: the busy answer is waited out.
    async fn all(&self, path: &str) -> Vec<Value> {
        let mut records = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(path) = next {
            let answer = self.get(&path).await;
            if answer.status() == 429 {
                assert_eq!(answer.headers()["retry-after"], "1");
                next = Some(path);
                continue;
            }
            assert_eq!(answer.status(), 200, "{path}");
            next = rel(&answer, "next");
            records.extend(answer.json::<Vec<Value>>().await.unwrap());
        }
        records
    }
}

fn rel(answer: &Response, rel: &str) -> Option<String> {
    let link = answer.headers().get("link")?.to_str().unwrap();
    link.split(", ").find_map(|one| {
        let (url, name) = one.split_once("; ")?;
        (name == format!("rel=\"{rel}\"")).then(|| url.trim_matches(['<', '>']).to_owned())
    })
}

#[tokio::test]
async fn every_page_together_is_every_record_once() {
    let asker = Asker::start().await;
    let issues = asker
        .all("/issues?state=all&sort=updated&direction=asc&per_page=100")
        .await;
    let ids: BTreeSet<u64> = issues.iter().map(|issue| issue["id"].as_u64().unwrap()).collect();
    assert_eq!(
        (issues.len() as u64, ids.len() as u64),
        (ISSUES + PULLS, ISSUES + PULLS)
    );
    assert!(issues.is_sorted_by_key(|issue| issue["updated_at"].as_str().unwrap().to_owned()));
    let comments = asker
        .all("/issues/comments?sort=updated&direction=asc&per_page=100")
        .await;
    assert_eq!(comments.len() as u64, COMMENTS);
    assert_eq!(
        asker.all("/pulls?state=all&per_page=100").await.len() as u64,
        PULLS
    );
    assert_eq!(asker.all("/releases").await.len(), 12);
}

#[tokio::test]
async fn links_lead_both_ways_and_sizes_have_a_limit() {
    let asker = Asker::start().await;
    let first = asker.get("/issues?state=all&per_page=1000").await;
    assert!(rel(&first, "prev").is_none());
    assert!(rel(&first, "last").unwrap().ends_with("page=103"));
    assert_eq!(first.json::<Vec<Value>>().await.unwrap().len(), 100);
    let middle = asker.get("/issues?state=all&per_page=100&page=2").await;
    for name in ["prev", "next", "last", "first"] {
        assert!(rel(&middle, name).is_some(), "{name}");
    }
    assert_eq!(
        asker
            .get("/issues")
            .await
            .json::<Vec<Value>>()
            .await
            .unwrap()
            .len(),
        30
    );
}

#[tokio::test]
async fn one_request_is_told_to_wait_and_an_etag_saves_one() {
    let asker = Asker::start().await;
    let mut busy = 0;
    for _ in 0..20 {
        busy += u32::from(asker.get("/releases").await.status() == 429);
    }
    assert_eq!(busy, 1);
    let answer = asker.get("/releases").await;
    let etag = answer.headers()["etag"].clone();
    let url = format!("{}/repos/{REPOSITORY}/releases", asker.server.base_url());
    let again = asker
        .client
        .get(url)
        .bearer_auth(TOKEN)
        .header("if-none-match", etag);
    assert_eq!(again.send().await.unwrap().status(), 304);
}

#[tokio::test]
async fn refuses_a_wrong_token_and_an_unknown_repository() {
    let asker = Asker::start().await;
    let url = format!("{}/repos/{REPOSITORY}", asker.server.base_url());
    assert_eq!(asker.client.get(&url).send().await.unwrap().status(), 401);
    assert_eq!(
        asker
            .client
            .get(&url)
            .bearer_auth("other")
            .send()
            .await
            .unwrap()
            .status(),
        401
    );
    let other = asker
        .get(&format!("{}/repos/some/other", asker.server.base_url()))
        .await;
    assert_eq!(other.status(), 404);
    assert!(other.headers().contains_key("x-ratelimit-remaining"));
}

#[tokio::test]
async fn the_second_epoch_shows_only_what_changed_since() {
    let asker = Asker::start().await;
    let path = "/issues?state=all&sort=updated&direction=asc&per_page=100&since=2025-11-01T00:00:00Z";
    assert!(asker.all(path).await.is_empty());
    asker.server.advance();
    let changed = asker.all(path).await;
    assert_eq!(changed.len() as u64, CHANGED + ADDED);
    assert!(changed.iter().all(|issue| issue["priority"]["rank"].is_number()));
}
