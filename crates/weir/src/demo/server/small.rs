//! The repository itself and its small lists: pull requests, commits, releases, workflow runs.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use serde_json::{Value, json as value};

use super::super::dataset::{ISSUES, Issue};
use super::super::dice::{below, roll};
use super::super::render::{self, REPOSITORY, stamp};
use super::World;
use super::guard::json;
use super::paging::{Params, array, cut, since};

const COMMITS: u64 = 400;
const RELEASES: u64 = 12;
const RUNS: u64 = 60;
const DAY_S: i64 = 86_400;
/// 2025-10-30T12:00:00Z: the newest of each.
const NEWEST_S: i64 = 1_761_825_600;
const API: &str = "https://api.github.com";

/// `GET /repos/{owner}/{repo}`
pub(crate) async fn repository(State(world): State<Arc<World>>, headers: HeaderMap) -> Response {
    let open = world
        .data()
        .issues
        .iter()
        .filter(|issue| issue.closed_s.is_none())
        .count();
    let (owner, name) = REPOSITORY.split_once('/').unwrap_or((REPOSITORY, REPOSITORY));
    let body = value!({
        "id": 640_000_001_u64,
        "node_id": "R_640000001",
        "name": name,
        "full_name": REPOSITORY,
        "private": false,
        "owner": { "login": owner, "id": 99, "node_id": "O_99", "type": "Organization", "site_admin": false },
        "html_url": format!("https://github.com/{REPOSITORY}"),
        "description": "A shop that exists only in weir's demo",
        "fork": false,
        "url": format!("{API}/repos/{REPOSITORY}"),
        "created_at": "2023-01-01T00:00:00Z",
        "updated_at": stamp(NEWEST_S),
        "pushed_at": stamp(NEWEST_S),
        "size": 48_211,
        "stargazers_count": 1_204,
        "watchers_count": 1_204,
        "forks_count": 87,
        "open_issues_count": open,
        "language": "Rust",
        "topics": ["shop", "demo"],
        "visibility": "public",
        "archived": false,
        "default_branch": "main"
    });
    json(&headers, body.to_string(), None)
}

/// `GET /repos/{owner}/{repo}/pulls`
pub(crate) async fn pulls(
    State(world): State<Arc<World>>,
    Query(params): Query<Params>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let data = world.data();
    let is = |name: &str, value: &str| params.get(name).is_some_and(|found| found == value);
    let mut all: Vec<&Issue> = data.issues.iter().filter(|issue| issue.is_pull).collect();
    if is("sort", "updated") {
        all.sort_by_key(|pull| (pull.updated_s, pull.number));
    }
    if !is("direction", "asc") {
        all.reverse();
    }
    let state = params.get("state").map_or("open", String::as_str);
    all.retain(|pull| state == "all" || (state == "closed") == pull.closed_s.is_some());
    let page = cut(&world.base_url, &uri, &params, &all);
    let body = array(page.items, |out, issue| out.push_str(&pull(issue).to_string()));
    json(&headers, body, page.link)
}

fn pull(issue: &Issue) -> Value {
    let n = issue.number;
    let mut author = String::new();
    render::user(&mut author, 50, n);
    value!({
        "id": 3_000_000_000_u64 + n,
        "node_id": format!("PR_{n}"),
        "url": format!("{API}/repos/{REPOSITORY}/pulls/{n}"),
        "html_url": format!("https://github.com/{REPOSITORY}/pull/{n}"),
        "number": n,
        "state": if issue.closed_s.is_some() { "closed" } else { "open" },
        "locked": false,
        "title": super::super::words::title(n),
        "body": null,
        "user": serde_json::from_str::<Value>(&author).unwrap_or_default(),
        "labels": [],
        "assignees": [],
        "draft": below(60, n, 9) == 0,
        "head": { "label": format!("weir-demo:change-{n}"), "ref": format!("change-{n}"), "sha": sha(61, n) },
        "base": { "label": "weir-demo:main", "ref": "main", "sha": sha(62, n) },
        "created_at": stamp(issue.created_s),
        "updated_at": stamp(issue.updated_s),
        "closed_at": issue.closed_s.map(stamp),
        "merged_at": issue.closed_s.filter(|_| below(63, n, 5) > 0).map(stamp),
        "author_association": "CONTRIBUTOR"
    })
}

fn sha(salt: u64, n: u64) -> String {
    format!(
        "{:016x}{:016x}{:08x}",
        roll(salt, n),
        roll(salt + 1_000, n),
        roll(salt + 2_000, n) >> 32
    )
}

/// `GET /repos/{owner}/{repo}/commits`: newest first.
pub(crate) async fn commits(
    State(world): State<Arc<World>>,
    Query(params): Query<Params>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let since = since(&params);
    let all: Vec<u64> = (0..COMMITS)
        .filter(|n| since.is_none_or(|since| committed(*n) >= since))
        .collect();
    let page = cut(&world.base_url, &uri, &params, &all);
    let body = array(page.items, |out, n| out.push_str(&commit(*n).to_string()));
    json(&headers, body, page.link)
}

fn committed(n: u64) -> i64 {
    NEWEST_S - i64::try_from(n).unwrap_or(0) * DAY_S / 2
}

fn commit(n: u64) -> Value {
    let person =
        value!({ "name": "Demo Committer", "email": "committer@example.com", "date": stamp(committed(n)) });
    value!({
        "sha": sha(70, n),
        "node_id": format!("C_{n}"),
        "commit": {
            "author": person,
            "committer": person,
            "message": format!("Mend {}", super::super::words::title(1 + n * 17 % ISSUES)),
            "tree": { "sha": sha(71, n) },
            "comment_count": 0
        },
        "url": format!("{API}/repos/{REPOSITORY}/commits/{}", sha(70, n)),
        "html_url": format!("https://github.com/{REPOSITORY}/commit/{}", sha(70, n)),
        "author": null,
        "committer": null,
        "parents": [{ "sha": sha(70, n + 1) }]
    })
}

/// `GET /repos/{owner}/{repo}/releases`: newest first.
pub(crate) async fn releases(
    State(world): State<Arc<World>>,
    Query(params): Query<Params>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let all: Vec<u64> = (0..RELEASES).rev().collect();
    let page = cut(&world.base_url, &uri, &params, &all);
    let body = array(page.items, |out, n| {
        let at = stamp(NEWEST_S - i64::try_from(RELEASES - n).unwrap_or(0) * 60 * DAY_S);
        let release = value!({
            "id": 70_000 + n, "node_id": format!("RE_{n}"), "tag_name": format!("v1.{n}.0"), "name": format!("1.{n}"),
            "target_commitish": "main", "draft": false, "prerelease": false, "created_at": at, "published_at": at,
            "body": "What is new", "assets": [], "html_url": format!("https://github.com/{REPOSITORY}/releases/v1.{n}.0")
        });
        out.push_str(&release.to_string());
    });
    json(&headers, body, page.link)
}

/// `GET /repos/{owner}/{repo}/actions/runs`, narrowed by `created=from..to`.
pub(crate) async fn workflow_runs(
    State(world): State<Arc<World>>,
    Query(params): Query<Params>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let bounds = params.get("created").and_then(|text| text.split_once(".."));
    let inside = |at: &str| bounds.is_none_or(|(from, to)| at >= from && at <= to);
    let all: Vec<u64> = (0..RUNS).filter(|n| inside(&ran(*n))).collect();
    let page = cut(&world.base_url, &uri, &params, &all);
    let runs = array(page.items, |out, n| {
        let run = value!({
            "id": 80_000_000 + n, "node_id": format!("WFR_{n}"), "name": "ci", "run_number": RUNS - n, "run_attempt": 1,
            "event": "push", "status": "completed", "conclusion": if n % 8 == 0 { "failure" } else { "success" },
            "workflow_id": 5, "head_branch": "main", "head_sha": sha(70, *n), "created_at": ran(*n),
            "updated_at": ran(*n), "run_started_at": ran(*n),
            "html_url": format!("https://github.com/{REPOSITORY}/actions/runs/{}", 80_000_000 + n)
        });
        out.push_str(&run.to_string());
    });
    json(
        &headers,
        format!(r#"{{"total_count":{},"workflow_runs":{runs}}}"#, all.len()),
        page.link,
    )
}

fn ran(n: u64) -> String {
    stamp(NEWEST_S - i64::try_from(n).unwrap_or(0) * DAY_S)
}
